"""What a report says of each run before any curve: settings, data, seeds, versions, outcome, alarms, evaluation.

Knows which facts a reader looks for first, and where runs differ. Draws nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rlkit.errors import ConfigError, DataError, RlkitError
from rlkit.evaluation.published import published_table
from rlkit.evaluation.results import Results, read
from rlkit.evaluation.tables import headline_table
from rlkit.plain import flat
from rlkit.reporting.folders import Folder

FIRST_AND_LAST = 10  # logged steps whose mean stands for "at the start" and "at the end"


def facts_of(folder: Folder) -> dict[str, Any]:
    """One run in plain values."""
    values = folder.values
    train = values.get("train") or {}
    return {
        "label": folder.label,
        "folder": folder.run.folder.name,
        "method": values.get("method", "?"),
        "task": values.get("task", "care"),
        "model": _model(values),
        "steps": folder.steps,
        "planned_steps": _planned_steps(folder),
        "state": _state(folder),
        "seconds": (folder.done or {}).get("seconds"),
        "figures": _figures(folder),
        "rewards": _rewards(folder),
        "seeds": {name: train[name] for name in ("seed", "data_seed") if name in train}
        | {f"sources.{name}.seed": spec["seed"] for name, spec in (values.get("sources") or {}).items() if "seed" in spec},
        "data": [_source(name, spec, folder.data.get(name) or {}) for name, spec in (values.get("sources") or {}).items()],
        "config": yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True),
        "versions": {name: version for name, version in (folder.environment.get("versions") or {}).items() if version},
        "environment": {key: folder.environment[key] for key in ("python", "platform", "cpus", "processes") if key in folder.environment},
        "command": shlex.join(map(str, folder.environment.get("command") or [])),
        "notes": folder.notes,
        "alarms": folder.alarms,
        "reading": "written by this version" if folder.config is not None else "written by another version",
    }  # fmt: skip


def differing(folders: Sequence[Folder]) -> list[dict[str, Any]]:
    """The settings in which the runs differ, one row each; where they were written to does not count."""
    flats = [flat(dict(folder.values)) for folder in folders]
    keys = dict.fromkeys(key for values in flats for key in values if key != "train.output_dir")
    rows = []
    for key in keys:
        found = [values.get(key) for values in flats]
        if any(value != found[0] for value in found):
            rows.append({"key": key, "values": [None if value is None else _told(value) for value in found]})
    return rows


def evaluations(folders: Sequence[Folder], more: Sequence[Path] = ()) -> tuple[list[dict[str, Any]], list[str]]:
    """The runs' evaluations beside the published figures, a table for each suite and published table, and notes."""
    found: list[tuple[str, Results]] = []
    notes = []
    places = [(folder.label, folder.run.folder / "evaluation") for folder in folders]
    places = [(label, path) for label, path in places if (path / "results.json").is_file()]
    places += [(path.name if path.name != "evaluation" else path.parent.name, path) for path in more]
    for label, path in places:
        if path in more and not (path / "results.json").is_file():
            raise DataError(f"{path}: is no evaluation, because there is no results.json in it; name a folder that `rlkit evaluate` wrote.")  # fmt: skip
        try:
            found.append((label, read(path)[1]))
        except RlkitError as error:
            notes.append(f"The evaluation of {label} cannot be read: {error}")
    tables = []
    for suite in dict.fromkeys(name for _, results in found for name in results):
        own = [(label, results[suite]) for label, results in found if suite in results]
        facts = own[0][1].facts
        for key in dict.fromkeys(key for _, result in own for key in (result.facts["published"] or [None])):
            try:
                published = key and published_table(key)
            except ConfigError as error:  # results of another version
                notes.append(str(error))
                continue
            title = facts["title"] if key is None else f"{facts['title']}: {published.title}"
            runs = {label: result.cells for label, result in own}
            for label, result in own:
                runs.update({f"control: {name} ({label})" if len(own) > 1 else f"control: {name}": cells for name, cells in result.controls.items()})  # fmt: skip
            table = headline_table(title, runs, facts["headline"], published or None)
            told = list(dict.fromkeys(note for _, result in own for note in result.notes))
            tables.append({**dict(table.data), "notes": [*table.notes, *told]})
    return tables, notes


def _model(values: Mapping[str, Any]) -> str:
    name = (values.get("model") or {}).get("model_name_or_path")
    if name:
        lora = " with LoRA" if values["model"].get("use_peft") else ""
        return f"{name}{lora}"
    scratch = values.get("scratch") or {}
    return f"{scratch.get('model_type', '?')} from scratch" if scratch else "?"


def _planned_steps(folder: Folder) -> int | None:
    steps = (folder.values.get("train") or {}).get("max_steps")
    return steps if isinstance(steps, int) and steps > 0 else (folder.done or {}).get("steps")


def _state(folder: Folder) -> dict[str, str]:
    if folder.done is None:
        return {"kind": "unfinished", "told": "not finished"}
    stopped = folder.done.get("stopped")
    if stopped:
        return {"kind": "stopped", "told": f"stopped by alarm {stopped}"}
    return {"kind": "done", "told": "finished"}


def _figures(folder: Folder) -> list[dict[str, Any]]:
    """The headline: what the main figures were at the start and are at the end."""
    wanted = [("reward", "reward"), ("watch/correct", "right answers"), ("eval_watch/correct", "held-out rows right")]
    wanted += [("completions/mean_length", "tokens"), ("loss", "loss"), ("mean_token_accuracy", "tokens right")]
    if any("reward" in line for line in folder.lines):
        wanted = [pair for pair in wanted if pair[0] != "loss"]
    figures = []
    for key, label in wanted:
        values = [line[key] for line in folder.lines if isinstance(line.get(key), int | float)]
        if values:
            some = min(FIRST_AND_LAST, max(1, len(values) // 4))
            figures.append({"label": label, "first": _mean(values[:some]), "last": _mean(values[-some:])})
    return figures


def _rewards(folder: Folder) -> list[dict[str, Any]]:
    if folder.reward is None:
        return []
    return [
        {"name": name, "weight": folder.reward.weights[name], "part": repr(part)}
        for name, part in folder.reward.parts.items()
    ]


def _source(name: str, spec: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    read, fitted = report.get("read") or {}, report.get("prompts") or report.get("budget") or {}
    dropped = {**(read.get("dropped") or {}), **(fitted.get("dropped") or {})}
    return {
        "name": name,
        "spec": dict(spec),
        "read": read.get("read"),
        "kept": fitted.get("kept", read.get("kept")),
        "dropped": {reason: _rows(count) for reason, count in dropped.items()},
        "noted": {reason: _rows(count) for reason, count in {**(read.get("noted") or {}), **(fitted.get("noted") or {})}.items()},
    }  # fmt: skip


def _rows(count: Any) -> Any:
    return count.get("rows") if isinstance(count, Mapping) else count


def _told(value: Any) -> str:
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _mean(values: Sequence[float]) -> float:
    return float(f"{sum(values) / len(values):.4g}")
