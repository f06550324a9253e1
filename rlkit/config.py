"""One YAML file -> one frozen `Config`, saved with the run.

Knows every key and its rule; the sections `train:` and `model:` are TRL's own fields under TRL's own names. It opens
no data, builds no model and imports nothing heavy. Paths inside a config are relative to the working directory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from rlkit.errors import ConfigError, nearest
from rlkit.fields import declared_fields, declared_types, declared_words
from rlkit.plain import flat, frozen, plain
from rlkit.training.alarm_options import Alarms
from rlkit.training.scoring_options import Scoring
from rlkit.yaml_files import override, read_yaml_file

METHODS = ("sft", "grpo")
MAX_COUNT = 10**9
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
TASKS = ("care", "memory_t1")

# Fields of TRL that a plan depends on: set by us, and an error when a config sets them to something else.
_FIXED = {"shuffle_dataset": False, "remove_unused_columns": False}
# Where a config is silent, these stand in the place of TRL's own defaults. TRL would cut SFT rows at 1,024 tokens.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": {"logging_steps": 1, "report_to": "none", "max_length": None},
    "grpo": {"logging_steps": 1, "report_to": "none"},
}
_OWNED = {
    "resume_from_checkpoint": "start the same command again; it continues by itself",
    "reward_weights": "weights stand under rewards:",
    "model_init_kwargs": "model fields stand under model:",
}


@dataclass(frozen=True)
class Prompt:
    """How a record becomes a prompt: its length limit and its system message."""

    max_tokens: int | None = None
    system: str | None = "default"


@dataclass(frozen=True)
class Config:
    """Everything that decides a run; two equal configs give equal runs on equal software.

    `sources` name the data, `memory` chooses the sessions that a prompt shows (absent: all), `curriculum` the sources'
    shares (one source needs none), `rewards` the parts of a GRPO run (absent: the preset of `task`); `model` and `train`
    are TRL's fields, `scratch` describes a randomly initialised model instead of a pretrained one. `tag_tokens` adds the
    tags of the CARE format to the model's vocabulary. At most `samples_per_step` completions a step are written to
    samples.jsonl. `alarms` says how a GRPO run is watched (absent: by the defaults, `False`: not at all), `scoring` when and
    where its rewards are called.
    """

    method: str
    sources: Mapping[str, Mapping[str, Any]]
    train: Mapping[str, Any]
    task: str = "care"
    model: Mapping[str, Any] = field(default_factory=dict)
    scratch: Mapping[str, Any] | None = None
    tag_tokens: bool = False
    prompt: Prompt = field(default_factory=Prompt)
    memory: Mapping[str, Any] | None = None
    curriculum: Mapping[str, Any] | None = None
    rewards: str | Mapping[str, Any] | None = None
    samples_per_step: int = 64
    alarms: Mapping[str, Any] | bool | None = None
    scoring: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are saved with the run."""
        return cast("dict[str, Any]", plain(self))

    def setting(self, name: str) -> Any:
        """The value of a TRL training field: from the config, else our default, else TRL's own."""
        ours = {**_FIXED, **_DEFAULTS[self.method]}
        return self.train.get(name, ours.get(name, declared_fields(self.method)[name]))

    def trl_settings(self) -> dict[str, Any]:
        """The TRL training fields that the config sets, and those for which we have a default."""
        return {**_DEFAULTS[self.method], **plain(self.train)}

    @property
    def watched(self) -> Alarms | None:
        """How the run is watched, None where it is not; SFT has no reward that could be cheated."""
        return Alarms.from_config(plain(self.alarms)) if self.method == "grpo" else None

    @property
    def scored(self) -> Scoring:
        """When and where the rewards of a GRPO run are called."""
        return Scoring.from_config(plain(self.scoring))

    @property
    def output_dir(self) -> Path:
        return Path(self.train["output_dir"])


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The config in a YAML file, with `a.b=value` overrides applied in order.

    Raises `ConfigError` with the file, the key, the rule and the nearest valid name.
    """
    path = Path(path)
    if not path.exists():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError(f"{path}: there is no such config file.{close} Shipped configs stand in configs/.")
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        holds = "is empty" if values is None else f"holds {type(values).__name__}"
        raise ConfigError(f"{path}: {holds}, but a config is a mapping such as `method: grpo`.")
    for change in overrides:
        override(values, change)
    return parse_config(values, where=str(path), default_name=path.stem)


def parse_config(values: Mapping[str, Any], *, where: str = "config", default_name: str = "run") -> Config:
    """A checked `Config` from plain values.

    >>> parse_config({"method": "grpo", "sources": {"s": {"format": "records", "path": "x"}},
    ...               "rewards": "care", "train": {"max_step": 3}})
    Traceback (most recent call last):
    rlkit.errors.ConfigError: config: train.max_step: TRL's GRPOConfig has no such field. Did you mean 'max_steps'?
    """
    known = [f.name for f in fields(Config)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: {key}: no such key.{nearest(str(key), known)} Known keys: {', '.join(known)}.")
    given = dict(values)
    method = _one_of(given.get("method"), METHODS, f"{where}: method")
    task = _one_of(given.get("task", "care"), TASKS, f"{where}: task")
    train = _trl_section(given.get("train"), method, f"{where}: train")
    train.setdefault("output_dir", f"runs/{default_name}")
    model = _trl_section(given.get("model"), "model", f"{where}: model")
    scratch = _mapping(given.get("scratch"), f"{where}: scratch") if given.get("scratch") is not None else None
    if (scratch is None) == (model.get("model_name_or_path") is None):
        raise ConfigError(
            f"{where}: model.model_name_or_path and scratch are {'both' if scratch else 'neither'} given, but a run starts "
            "from exactly one of them: a model's name or folder, or the shape of a randomly initialised model."
        )
    rewards = given.get("rewards")
    if method == "grpo" and rewards is None:
        rewards = task
    if method == "sft" and rewards:
        raise ConfigError(f"{where}: rewards: given, but method sft uses none; remove the section or set method: grpo.")
    return Config(
        method=method,
        task=task,
        sources=frozen(_sources(given.get("sources"), f"{where}: sources")),
        train=frozen(train),
        model=frozen(model),
        scratch=None if scratch is None else frozen(scratch),
        tag_tokens=_tag_tokens(given.get("tag_tokens", False), task, f"{where}: tag_tokens"),
        prompt=_prompt(given.get("prompt"), f"{where}: prompt"),
        memory=None if given.get("memory") is None else frozen(_memory(given["memory"], f"{where}: memory")),
        curriculum=None
        if given.get("curriculum") is None
        else frozen(_mapping(given["curriculum"], f"{where}: curriculum")),
        rewards=frozen(rewards),
        samples_per_step=_count(given.get("samples_per_step", Config.samples_per_step), f"{where}: samples_per_step"),
        alarms=_alarms(given.get("alarms"), method, f"{where}: alarms"),
        scoring=_scoring(given.get("scoring"), method, train, f"{where}: scoring"),
    )


def differences(old: Config | Mapping[str, Any], new: Config | Mapping[str, Any]) -> list[str]:
    """One line a setting that differs, as `key: old -> new`; `output_dir` and `scoring` change no result and do not count.

    >>> differences({"train": {"seed": 1}}, {"train": {"seed": 2}})
    ['train.seed: 1 -> 2']
    """
    before, after = (flat(c.to_dict() if isinstance(c, Config) else c) for c in (old, new))
    absent = "(not set)"
    return [
        f"{key}: {before.get(key, absent)!r} -> {after.get(key, absent)!r}"
        for key in sorted(before.keys() | after.keys())
        if key != "train.output_dir"
        and key.split(".")[0] != "scoring"
        and before.get(key, absent) != after.get(key, absent)
    ]


def _trl_section(section: Any, kind: str, where: str) -> dict[str, Any]:
    values = _mapping(section, where)
    names = {"grpo": "GRPOConfig", "sft": "SFTConfig", "model": "ModelConfig"}
    known = declared_fields(kind)
    for key, value in values.items():
        if key in _OWNED:
            raise ConfigError(f"{where}.{key}: is set by rlkit; {_OWNED[key]}.")
        if key not in known:
            raise ConfigError(f"{where}.{key}: TRL's {names[kind]} has no such field.{nearest(str(key), known)}")
        if key in _FIXED and value != _FIXED[key]:
            raise ConfigError(
                f"{where}.{key}: {value!r} would break the planned order; remove it (rlkit sets {_FIXED[key]!r})."
            )
        _check_type(value, declared_types(kind).get(key), f"{where}.{key}")
        words = declared_words(kind, key) if isinstance(value, str) else ()
        if words and value not in words:
            raise ConfigError(f"{where}.{key}: is {value!r:.60}, but must be one of {', '.join(words)}.{nearest(value, words)}")  # fmt: skip
    return values


def _check_type(value: Any, types: tuple[type, ...] | None, where: str) -> None:
    """A value of another type than TRL declares would be taken for another one, or fail after the model is loaded."""
    if types is None:
        return
    fits = type(value) in types or (type(value) is int and float in types)
    fits = fits or (type(value) is str and list in types)  # `all-linear` and the like stand for a list of one
    if not fits:
        names = " or ".join("null" if kind is type(None) else _WORDS[kind] for kind in types)
        raise ConfigError(f"{where}: is {value!r:.60}, but must be {names}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: is {value!r}, but must be a finite number.")
    if isinstance(value, int) and abs(value) > MAX_COUNT:
        raise ConfigError(f"{where}: is {value!r:.60}, but no run needs more than {MAX_COUNT:,}.")


def _sources(section: Any, where: str) -> dict[str, dict[str, Any]]:
    sources = _mapping(section, where)
    if not sources:
        raise ConfigError(f"{where}: none given; name at least one, e.g. `easy: {{format: hotpotqa, path: FILE}}`.")
    for name, spec in sources.items():
        if not isinstance(spec, Mapping) or not isinstance(spec.get("format"), str):
            raise ConfigError(
                f"{where}.{name}: is {spec!r:.80}, but needs a format, e.g. {{format: hotpotqa, path: FILE}}."
            )
    return sources


def _prompt(section: Any, where: str) -> Prompt:
    values = _mapping(section, where)
    known = [f.name for f in fields(Prompt)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such key.{nearest(str(key), known)} Known keys: {', '.join(known)}.")
    limit = values.get("max_tokens")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(
            f"{where}.max_tokens: is {limit!r}, but must be a positive number of tokens, or null for no limit."
        )
    system = values.get("system", "default")
    if system is not None and not isinstance(system, str):
        raise ConfigError(f"{where}.system: is {system!r}, but must be text, `default`, or null for no system message.")
    return Prompt(limit, system)


def _memory(section: Any, where: str) -> dict[str, Any]:
    from rlkit.memory.candidates import Candidates

    Candidates.from_config(section, where)  # its options are checked where they are declared
    return dict(section)


def _alarms(section: Any, method: str, where: str) -> Any:
    if section is not None and method != "grpo":
        raise ConfigError(f"{where}: given, but method {method} has no reward to watch; take it out.")
    Alarms.from_config(section, where)  # its options are checked where they are declared
    return frozen(section)


def _scoring(section: Any, method: str, train: Mapping[str, Any], where: str) -> Any:
    if section is not None and method != "grpo":
        raise ConfigError(f"{where}: given, but method {method} has no reward; take it out.")
    options = Scoring.from_config(section, where)  # its options are checked where they are declared
    patience = train.get("ddp_timeout", declared_fields(method)["ddp_timeout"])
    if options.timeout_seconds >= patience:
        raise ConfigError(
            f"{where}.timeout_seconds: {options.timeout_seconds:g} is not below the {patience} s of train.ddp_timeout, after "
            "which the other processes give up waiting with an error that names no reward; lower it, or raise that."
        )
    return frozen(section)


def _tag_tokens(value: Any, task: str, where: str) -> bool:
    if type(value) is not bool:
        raise ConfigError(f"{where}: is {value!r:.60}, but must be true or false.")
    if value and task != "care":
        raise ConfigError(f"{where}: true, but the output of task {task} is JSON and has no tags; take it out.")
    return value


def _one_of(value: Any, options: tuple[str, ...], where: str) -> str:
    if value not in options:
        close = nearest(str(value), options)
        raise ConfigError(f"{where}: is {value!r}, but must be one of {', '.join(options)}.{close}")
    return value


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{where}: is {value!r}, but must be a whole number of at least 0.")
    return value


def _mapping(section: Any, where: str) -> dict[str, Any]:
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: is {section!r:.80}, but must be a mapping of keys to values.")
    return dict(section)
