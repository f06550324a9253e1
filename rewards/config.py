"""A composed reward from plain values, as a YAML file holds them under `rewards:`.

Knows names, parameters and where user code is imported from; knows no file and no formula.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rewards.compose import Weighted, check_weight, weighted
from rewards.errors import RewardError, nearest
from rewards.part import check_part, for_task, is_batch_function, part_name

BUILT_IN = (
    "token_f1",
    "exact_match",
    "care_format",
    "quotes_in_context",
    "answer_in_quotes",
    "fact_coverage",
    "memory_format",
    "jaccard_evidence",
    "temporal_answer",
    "temporal_consistency",
)
_RESERVED = ("use", "weight", "task")
_EXAMPLE = "{use: token_f1, weight: 0.7}"


def from_config(spec: str | Mapping[str, Any], *, path: str = "rewards") -> Weighted:
    """The reward that a config describes: a preset's name, a mapping from names of your choice to parts, or both.

    Each part is `{use, weight, task?, parameters...}`. `use` is a built-in name or `module:attribute` for your own
    code (a reward function, a TRL-style batch function, or a class or factory that takes the parameters). `task`
    keeps the part to the rows of one task. The key `on_error` (`raise` or `abstain`) stands beside the parts, and so does
    `preset`: its parts come first, and a part of the same name replaces one and keeps its weight unless it has its own.
    Raises `RewardError` that starts with the config path, e.g. `rewards.accuracy.use`.

    >>> reward = from_config({"accuracy": {"use": "exact_match", "weight": 0.9}, "on_error": "abstain"})
    >>> dict(reward.weights), reward.on_error
    ({'accuracy': 0.9}, 'abstain')
    >>> dict(from_config({"preset": "care", "grounding": {"use": "answer_in_quotes"}}).weights)
    {'accuracy': 0.7, 'format': 0.1, 'grounding': 0.2}
    >>> from_config({"accuracy": {"use": "token_f", "weight": 1}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rewards.errors.RewardError: rewards.accuracy.use: no built-in reward 'token_f'. Did you mean 'token_f1'? There are: ...
    """
    if isinstance(spec, str):
        return _preset(spec, path)
    if not isinstance(spec, Mapping):
        raise RewardError(
            f"{path}: is {spec!r:.80}, but must be the name of a preset or a mapping such as accuracy: {_EXAMPLE}."
        )
    on_error = spec.get("on_error", "raise")
    preset = spec.get("preset")
    base = _preset(preset, f"{path}.preset") if isinstance(preset, str) else None
    apart = ("on_error", "preset") if base else ("on_error",)
    parts = {} if base is None else {name: (base.weights[name], part) for name, part in base.parts.items()}
    for name, value in spec.items():
        if name not in apart:
            parts[name] = _part(value, f"{path}.{name}", None if base is None else base.weights.get(name))
    for name in parts:
        if not isinstance(name, str):
            raise RewardError(f"{path}: the name {name!r} of a part is not text; put it in quotes.")
    try:
        return weighted(on_error=on_error, **parts)
    except RewardError as error:
        raise RewardError(f"{path}: {error}") from error


def _preset(name: str, at: str) -> Weighted:
    from rewards.presets import PRESETS

    if name not in PRESETS:
        raise RewardError(f"{at}: no preset {name!r}. {nearest(name, PRESETS)}")
    return PRESETS[name]()


def _part(spec: Any, at: str, weight_without: float | None) -> tuple[float, Any]:
    """Weight and part; `weight_without` is that of a part that has none of its own."""
    if not isinstance(spec, Mapping):
        raise RewardError(f"{at}: is {spec!r:.80}, but must be a mapping such as {_EXAMPLE}.")
    if weight_without is not None:
        spec = {"weight": weight_without, **spec}
    for key in ("use", "weight"):
        if key not in spec:
            raise RewardError(f"{at}: has no {key!r} (it has: {', '.join(map(str, spec))}); write e.g. {_EXAMPLE}.")
    try:
        weight = check_weight(spec["weight"])
    except RewardError as error:
        raise RewardError(f"{at}.weight: {error}") from error
    parameters = {key: value for key, value in spec.items() if key not in _RESERVED}
    part = _build(_find(spec["use"], f"{at}.use"), parameters, at)
    if spec.get("task") is None:
        return weight, part
    return weight, _for_task(spec["task"], part, f"{at}.task")


def _for_task(task: Any, part: Any, at: str) -> for_task:
    from rewards.presets import PRESETS

    if task not in PRESETS:  # a typo would keep the part from every row
        raise RewardError(f"{at}: no task {task!r}. {nearest(str(task), PRESETS)}")
    try:
        return for_task(task, part)
    except RewardError as error:
        raise RewardError(f"{at}: {error}") from error


def _find(use: Any, at: str) -> Any:
    """The built-in part or the user's code that `use` names."""
    import rewards

    if not isinstance(use, str):
        raise RewardError(f"{at}: is {use!r:.80}, but must be the name of a reward or 'module:attribute'.")
    module_name, colon, attribute = use.partition(":")
    if not colon:
        if use not in BUILT_IN:
            raise RewardError(
                f"{at}: no built-in reward {use!r}. {nearest(use, BUILT_IN)} Your own code is 'module:attribute'."
            )
        return getattr(rewards, use)
    module = _import(module_name, at)
    if not hasattr(module, attribute):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise RewardError(
            f"{at}: {module_name} ({getattr(module, '__file__', 'built in')}) has no {attribute!r}. "
            f"{nearest(attribute, names)}"
        )
    return getattr(module, attribute)


def _import(name: str, at: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:  # an installed command starts without the working directory; stays for child processes
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a script that ends with sys.exit would end the program without a word
        hint = " Write the module's name with dots, not its file." if "/" in name or name.endswith(".py") else ""
        raise RewardError(
            f"{at}: cannot import {name!r}: {type(error).__name__}: {error}. Tried the working directory {folder}, "
            f"PYTHONPATH and the installed packages.{hint}"
        ) from error


def _build(target: Any, parameters: Mapping[str, Any], at: str) -> Any:
    if inspect.isclass(target) or _is_factory(target, parameters):
        target = _make(target, parameters, at)
    elif parameters:
        raise RewardError(
            f"{at}.{next(iter(parameters))}: {part_name(target)} is a reward itself and takes no parameters; make it a "
            "class or a function that returns a reward."
        )
    try:
        return check_part(target)
    except RewardError as error:
        raise RewardError(f"{at}.use: {error}") from error


def _is_factory(target: Any, parameters: Mapping[str, Any]) -> bool:
    """Whether a function makes rewards: it is not tagged as one, and is to be called with parameters or without any."""
    if not inspect.isroutine(target) or hasattr(target, "needs") or is_batch_function(target):
        return False
    required = [
        p
        for p in _parameters(target).values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return bool(parameters) or not required


def _make(factory: Callable[..., Any], given: Mapping[str, Any], at: str) -> Any:
    accepted = _parameters(factory)
    named = {name for name, p in accepted.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    for name in given:
        if name not in named and not takes_any:
            raise RewardError(
                f"{at}.{name}: {part_name(factory)} has no parameter {name!r}. {nearest(str(name), named)}"
            )
    lacking = [name for name in named if accepted[name].default is inspect.Parameter.empty and name not in given]
    if lacking:
        raise RewardError(f"{at}: {part_name(factory)} needs the parameter {', '.join(sorted(lacking))}.")
    try:
        return factory(**given)
    except (Exception, SystemExit) as error:
        cause = str(error) if isinstance(error, RewardError) else f"{type(error).__name__}: {error}"
        raise RewardError(f"{at}: {part_name(factory)} refuses these parameters: {cause}") from error


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):  # some built-in callables have no signature
        return {}
