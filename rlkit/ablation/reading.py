"""An ablation's YAML file, read as an `Ablation` and checked to the last variant before anything runs.

Knows keys and their rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rewards.config import from_config as rewards_from_config
from rewards.errors import RewardError
from rlkit.ablation.settings import SEEDS_APART, Ablation, Stage
from rlkit.errors import ConfigError, nearest
from rlkit.plain import frozen, plain
from rlkit.quickstart.world import HEAD_SIZE
from rlkit.yaml_files import override, read_yaml_file

WORLDS = ("care", "care_hard", "memory_t1")  # the names in `worlds`, which takes longer to import
SECTIONS = ("model", "prompt", "train")  # of a config; a variant changes these key by key, and may replace the others
_KINDS = ("world", "sample", "config")


def load_ablation(path: Path, changes: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Ablation:
    """Read and check an ablation's file; every config that it names is read with the variant's changes.

    Raises `ConfigError` with the file, the key, the rule and the nearest valid name.
    """
    if not path.exists():
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(
            f"{path}: there is no such file.{nearest(path.name, near)} Shipped ones stand in configs/ablate/."
        )
    values = read_yaml_file(path)
    if values is None:
        raise ConfigError(f"{path}: is empty; shipped ablations stand in configs/ablate/.")
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: holds {type(values).__name__}, but an ablation is a mapping such as `variants: ...`."
        )
    for change in changes:
        section, name = [*change.partition("=")[0].split("."), ""][:2]
        there = values.get(section)
        if section in ("before", "variants") and name and isinstance(there, dict) and name not in there:
            raise ConfigError(f"override {change!r}: {section} has no {name!r}; there are {', '.join(map(str, there))}.{nearest(name, there)}")  # fmt: skip
        override(values, change)
    ablation = parse_ablation(values, str(path), path.stem)
    return ablation if seeds is None else replace(ablation, seeds=_seeds(list(seeds), "--seeds"))


def parse_ablation(values: Mapping[str, Any], where: str = "ablation", name: str = "ablation") -> Ablation:
    """A checked ablation from plain values; configs that it names are opened.

    >>> parse_ablation({"varaints": {}})
    Traceback (most recent call last):
    rlkit.errors.ConfigError: ablation: varaints: no such key; there are title, output_dir, seeds, config, from, before, \
variants, evaluate, differences. Did you mean 'variants'?
    """
    known = ("title", "output_dir", "seeds", "config", "from", "before", "variants", "evaluate", "differences")
    _check_keys(values, known, where)
    before = {
        key: _stage(key, spec, {}, f"{where}: before.{key}") for key, spec in _mapping(values, "before", where).items()
    }
    common = {key: values[key] for key in ("config", "from") if values.get(key) is not None}
    variants = {
        key: _stage(key, spec, common, f"{where}: variants.{key}")
        for key, spec in _mapping(values, "variants", where).items()
    }
    if not variants:
        raise ConfigError(f"{where}: variants: none given; name at least one, e.g. `full: {{}}`.")
    _check_names(before, variants, where)
    evaluate = values.get("evaluate")
    if not isinstance(evaluate, str) or not evaluate:
        raise ConfigError(f"{where}: evaluate: is {evaluate!r}, but must name a suite or a config of `rlkit evaluate`.")
    ablation = Ablation(
        title=_text(values.get("title", name), f"{where}: title"),
        output_dir=Path(_text(values.get("output_dir", f"runs/ablate/{name}"), f"{where}: output_dir")),
        seeds=_seeds(values.get("seeds"), f"{where}: seeds"),
        before=frozen(before),
        variants=frozen(variants),
        evaluate=evaluate,
        differences=frozen(
            _differences(_mapping(values, "differences", where), {**before, **variants}, list(variants), where)
        ),
    )
    _check_seeds(ablation, where)
    try:
        ablation.evaluation()
    except ConfigError as error:
        raise ConfigError(f"{where}: evaluate: {error}") from error
    for stage in ablation.stages.values():
        _check_configs(ablation, stage, where)
    return ablation


def _stage(name: str, spec: Any, common: Mapping[str, Any], where: str) -> Stage:
    given = {} if spec is None else spec
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: is {spec!r:.80}, but must be a mapping, e.g. {{set: {{train.beta: 0.04}}}}.")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: YAML reads this name as {type(name).__name__} {name!r}; put it in quotes.")
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"{where}: {name!r} becomes a folder's name; use letters, digits, - and _ alone.")
    known = ["from" if f.name == "start" else f.name for f in fields(Stage) if f.name != "name"]
    _check_keys(given, known, where)
    values = dict(given) if {"world", "sample"} & set(given) else {**common, **given}
    kinds = [kind for kind in _KINDS if values.get(kind) is not None]
    if len(kinds) != 1:
        raise ConfigError(f"{where}: has {' and '.join(kinds) or 'none'} of world, sample, config; give exactly one.")
    for key in ("world", "sample", "config", "from", "rows"):
        _text(values.get(key, ""), f"{where}.{key}", empty=True)
    changes = values.get("set") or {}
    if not isinstance(changes, Mapping) or not all(isinstance(key, str) for key in changes):
        raise ConfigError(
            f"{where}.set: is {changes!r:.80}, but must map dotted keys to values, e.g. train.beta: 0.04."
        )
    for key, value in changes.items():
        try:
            json.dumps(plain(value))
        except TypeError as error:
            raise ConfigError(
                f"{where}.set.{key}: {error}, so no command line could say it; put it in quotes."
            ) from error
    allowed = {"world": ("steps", "hidden_size"), "sample": ("from", "set"), "config": ("from", "rows", "set")}[
        kinds[0]
    ]
    for key in values:
        if key not in (*allowed, kinds[0]):
            raise ConfigError(f"{where}.{key}: means nothing beside {kinds[0]}, which takes {', '.join(allowed)}.")
    if kinds[0] == "sample" and values.get("from") is None:
        raise ConfigError(f"{where}: from: missing; name the stage whose model answers.")
    if kinds[0] == "world" and values["world"] not in WORLDS:
        raise ConfigError(f"{where}.world: is {values['world']!r}, but must be one of {', '.join(WORLDS)}.{nearest(str(values['world']), WORLDS)}")  # fmt: skip
    steps, hidden_size = values.get("steps"), values.get("hidden_size")
    for key, number, least in (("steps", steps, 1), ("hidden_size", hidden_size, HEAD_SIZE)):
        if number is not None and (type(number) is not int or number < least or number % least):
            rule = "a whole number of at least 1" if least == 1 else f"a whole number: {least} or a multiple of it"
            raise ConfigError(f"{where}.{key}: is {number!r}, but must be {rule}.")
    texts = {"start": values.get("from"), **{key: values.get(key) for key in ("world", "sample", "config", "rows")}}
    return Stage(name, steps=steps, hidden_size=hidden_size, set=frozen(changes), **texts)


def _check_names(before: Mapping[str, Stage], variants: Mapping[str, Stage], where: str) -> None:
    """What a stage starts from must be there, above it; a variant's model is nobody's start."""
    seen: list[str] = []
    for section, stages in (("before", before), ("variants", variants)):
        for name, stage in stages.items():
            if section == "variants" and name in before:
                raise ConfigError(f"{where}: variants.{name}: stands in before, too; a name means one model.")
            for key, needed, fits in (("from", stage.start, True), ("rows", stage.rows, False)):
                if needed is None:
                    continue
                if needed not in seen:
                    raise ConfigError(
                        f"{where}: {section}.{name}.{key}: {needed!r} is no stage of `before` above it; there are "
                        f"{', '.join(seen) or 'none'}.{nearest(str(needed), seen)}"
                    )
                if before[needed].has_model is not fits:
                    made = "a model, but rows are needed" if before[needed].has_model else "rows, but a model is needed"
                    raise ConfigError(f"{where}: {section}.{name}.{key}: {needed} makes {made}.")
            if section == "before":
                seen.append(name)


def _check_seeds(ablation: Ablation, where: str) -> None:
    """Each ablation seed has a few numbers of its own; one more would be another seed's, or that of the questions."""
    stages = ablation.stages.values()
    configs = {stage.config or stage.sample for stage in stages} - {None}
    apart = max(ablation.training_seed(0, stage.name) for stage in stages)
    if len(configs) >= SEEDS_APART or apart >= SEEDS_APART - 1:
        raise ConfigError(
            f"{where}: names {len(configs)} configs and starts up to {apart} stages after one another, but a seed has numbers for at "
            f"most {SEEDS_APART - 1} configs and {SEEDS_APART - 2} stages; make two ablations of it."
        )


def _check_configs(ablation: Ablation, stage: Stage, where: str) -> None:
    section = "before" if stage.name in ablation.before else "variants"
    try:
        if stage.world is None:
            _check_sections(stage)
            _check_own(stage, list(ablation.decided(ablation.seeds[0], stage.name)))
            config = ablation.config(ablation.seeds[0], stage.name)
            if config.rewards is not None:
                rewards_from_config(config.to_dict()["rewards"])
            elif stage.sample is not None:
                raise ConfigError(
                    f"{stage.sample}: is no GRPO config, so it has no reward that says which answers are right."
                )
    except (ConfigError, RewardError) as error:
        raise ConfigError(f"{where}: {section}.{stage.name}: {error}") from error


def _check_own(stage: Stage, decided: Sequence[str]) -> None:
    """What an ablation decides for each seed is no variant's to change: it would be lost without a word."""
    for key in _leaves(plain(stage.set)):
        if any(f"{key}.".startswith(f"{own}.") for own in decided):
            raise ConfigError(
                f"set.{key}: is decided by the ablation, for every seed anew, so the variant would not differ in it; leave it out"
                + (" (from: names the start)." if key.startswith("model.") else ".")
            )


def _check_sections(stage: Stage) -> None:
    for key in SECTIONS:
        if key in stage.set:
            inner = _leaves(plain(stage.set[key])) if stage.set[key] else ["..."]
            raise ConfigError(
                f"set.{key}: would replace the whole section, so everything else that {stage.config or stage.sample} says in it would be gone; "
                f"name what changes: {{{', '.join(f'{key}.{name}: ...' for name in inner)}}}."
            )


def _leaves(values: Any, key: str = "") -> list[str]:
    """The dotted keys of everything that is no mapping itself."""
    if not isinstance(values, Mapping) or not values:
        return [key]
    return [leaf for name, value in values.items() for leaf in _leaves(value, f"{key}.{name}" if key else str(name))]


def _differences(
    given: Mapping[str, Any], stages: Mapping[str, Stage], variants: Sequence[str], where: str
) -> dict[str, tuple[str, str]]:
    """Those that the file names, else every variant against the first."""
    if not given:
        return {f"{name} - {variants[0]}": (name, variants[0]) for name in variants[1:]}
    known = [name for name, stage in stages.items() if stage.has_model]
    for name, pair in given.items():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ConfigError(f"{where}: differences.{name}: is {pair!r:.80}, but must be [variant, against].")
        if pair[0] == pair[1]:
            raise ConfigError(f"{where}: differences.{name}: holds {pair[0]!r} against itself; name two.")
        for one in pair:
            if one not in known:
                what = "makes rows, which have no figures" if one in stages else "is no variant"
                raise ConfigError(f"{where}: differences.{name}: {one!r} {what}; there are {', '.join(known)}.{nearest(str(one), known)}")  # fmt: skip
    return {str(name): (pair[0], pair[1]) for name, pair in given.items()}


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    fits = isinstance(value, list | tuple) and value and all(type(one) is int and 0 <= one < 2**28 for one in value)
    if not fits or len(set(value)) < len(value):
        raise ConfigError(
            f"{where}: is {value!r:.80}, but must be a list of whole numbers from 0 to {2**28 - 1}, each once, e.g. [1, 2, 3]."
        )
    return tuple(value)


def _text(value: Any, where: str, empty: bool = False) -> str:
    if not isinstance(value, str) and not (empty and value is None):
        raise ConfigError(f"{where}: is {value!r:.80}, but must be a text.")
    if not value and not empty:
        raise ConfigError(f"{where}: is empty; write a text, or leave the key out.")
    return value or ""


def _mapping(values: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    section = values.get(key)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: {key}: is {section!r:.80}, but must be a mapping of names.")
    return section


def _check_keys(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: {key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}")
