"""A run folder as a report needs it: config, versions, data, metrics by step, alarms, evaluation, reward.

Reads what is there, whatever state the run is in, and notes what is not. Imports none of a user's own code unless it is
asked to: a run folder may come from somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewards import RewardError, Sample, Weighted
from rewards.config import from_config as rewards_from_config
from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError, DataError, RlkitError, RunError, nearest
from rlkit.runs import Run
from rlkit.yaml_files import read_yaml_file


@dataclass(frozen=True)
class Unknown:
    """Stands for a part of a user's own that is not imported; its logged values are shown, its reasons are not known."""

    use: str

    def __call__(self, sample: Sample) -> float | None:
        raise RewardError(f"{self.use} was not imported")

    def explain(self, sample: Sample) -> list[str]:
        return [f"{self.use} is a part of your own; --own-parts imports it and lets it say its reasons"]


@dataclass
class Folder:
    """One run. `lines` are its metrics, one mapping a step; `notes` say in words what is missing and why it matters."""

    run: Run
    label: str
    values: Mapping[str, Any]
    config: Config | None
    reward: Weighted | None
    lines: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    done: Mapping[str, Any] | None
    notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return int(self.lines[-1]["step"]) if self.lines else 0

    def setting(self, name: str) -> Any:
        """A training setting, with the defaults where the config could be read."""
        if self.config is not None:
            return self.config.setting(name)
        return (self.values.get("train") or {}).get(name)


def read_folders(paths: Sequence[Path], *, own_parts: bool = False) -> list[Folder]:
    """Read each run once; raises `RunError` for a folder that is no run's, with the nearest one that is."""
    distinct = list(dict.fromkeys(path.resolve() for path in paths))
    return [
        read_folder(path, label, own_parts=own_parts) for path, label in zip(distinct, _labels(distinct), strict=True)
    ]


def read_folder(path: Path, label: str, *, own_parts: bool = False) -> Folder:
    saved = path / "config.yaml"
    if not saved.is_file():
        near = nearest(path.name, [p.name for p in path.parent.iterdir() if (p / "config.yaml").is_file()]) if path.parent.is_dir() else ""  # fmt: skip
        inside = sorted(p.parent.name for p in path.glob("*/config.yaml")) if path.is_dir() else []
        hint = f" It holds the runs {', '.join(inside)}." if inside else ""
        raise RunError(f"{path}: is no run, because there is no config.yaml in it.{near}{hint} Name the folder that `rlkit train` wrote.")  # fmt: skip
    values = read_yaml_file(saved)
    if not isinstance(values, dict):
        raise RunError(f"{saved}: holds no mapping, so the run folder is damaged; report on another run.")
    notes: list[str] = []
    config = None
    try:
        config = parse_config(values, where=str(saved), default_name=path.name)
    except RlkitError as error:
        notes.append(f"The config was written by another version and cannot be read by this one: {error}")
    run = Run(path)
    reward = _reward(values, own_parts, notes) if values.get("method") == "grpo" else None
    lines = _by_step(list(read_lines(run.metrics)))
    if not lines:
        notes.append("No step has been logged yet.")
    done = _read_json(path / "done.json")
    return Folder(
        run,
        label,
        values,
        config,
        reward,
        lines,
        list(read_lines(run.alarms)),
        _read_json(path / "environment.json") or {},
        _read_json(path / "data.json") or {},
        done,
        notes,
    )


def read_lines(journal: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that a killed process left unfinished at the end is left out."""
    if not journal.is_file():
        return
    with journal.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                value = json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return
                raise DataError(
                    f"{journal}:{number}: not a line of JSON ({error}); the run folder is damaged."
                ) from error
            if isinstance(value, dict):
                yield value


def _by_step(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One mapping a step: what is logged of a probe comes after the step's own line."""
    steps: dict[int, dict[str, Any]] = {}
    for line in lines:
        if isinstance(line.get("step"), int):
            steps.setdefault(line["step"], {}).update(line)
    return [steps[step] for step in sorted(steps)]


def _reward(values: Mapping[str, Any], own_parts: bool, notes: list[str]) -> Weighted | None:
    spec = values.get("rewards") or values.get("task") or "care"
    try:
        if isinstance(spec, str) or own_parts:
            return rewards_from_config(spec)
        strange = {
            name: each["use"]
            for name, each in spec.items()
            if isinstance(each, Mapping) and ":" in str(each.get("use", ""))
        }
        known = {name: each for name, each in spec.items() if name not in strange}
        parts, weights = {}, {}
        if any(name != "on_error" for name in known):
            built = rewards_from_config(known)
            parts, weights = dict(built.parts), dict(built.weights)
        for name, use in strange.items():
            parts[name], weights[name] = Unknown(use), float(spec[name].get("weight", 0.0))
        order = [name for name in spec if name in parts]
        return Weighted({name: parts[name] for name in order}, {name: weights[name] for name in order})
    except (RewardError, ConfigError, TypeError, ValueError) as error:
        notes.append(f"The reward cannot be built, so completions are shown without reasons: {error}")
        return None


def _labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for depth in range(1, 6):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: cannot be read ({error}); the run folder is damaged.") from error
    return value if isinstance(value, dict) else None
