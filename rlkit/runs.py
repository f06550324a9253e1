"""The run folder: what a run leaves behind, and the rules under which a folder may be used again.

    config.yaml        the whole config, written first
    environment.json   versions, command and number of processes
    start_model/       the randomly initialised model, if the config describes one
    metrics.jsonl      one line a logged step
    samples.jsonl      logged completions with prompt, labels and score
    checkpoint-N/      TRL's checkpoints; complete ones hold rlkit.json
    model/             the trained model
    done.json          written last

A folder is never overwritten: the same config continues it, any other is refused. Knows no trainer.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from rlkit.config import Config, differences
from rlkit.errors import RunError

_MARK = "rlkit.json"
_PACKAGES = ("trl", "torch", "transformers", "deepspeed", "datasets", "accelerate", "peft", "rapidfuzz", "rank-bm25")


@dataclass(frozen=True)
class Run:
    """One run's folder and the files in it."""

    folder: Path

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.folder / "samples.jsonl"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def start_model(self) -> Path:
        return self.folder / "start_model"

    @property
    def done(self) -> Path:
        return self.folder / "done.json"

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end, or `None`."""
        found = [p for p in self.folder.glob("checkpoint-*") if (p / _MARK).is_file() and step_of(p) is not None]
        return max(found, key=lambda p: step_of(p) or 0, default=None)

    def mark_complete(self, checkpoint: Path, facts: Mapping[str, Any]) -> None:
        """Note that a checkpoint was written to its end; only such a one is ever resumed."""
        write_json(checkpoint / _MARK, facts)


def open_run(config: Config, *, world_size: int = 1, must_exist: bool = False) -> Run:
    """Check that the config's `output_dir` may be used, without writing anything.

    Free, or an unfinished run of the same config: fine. Raises `RunError` for a finished run, a run of another config
    (naming what differs), somebody else's files, or nothing to resume where `must_exist` asks for it.
    """
    run = Run(config.output_dir)
    saved = run.folder / "config.yaml"
    if not saved.is_file():
        if must_exist:
            raise RunError(f"{run.folder}: there is no run to resume; leave out --resume to start one.")
        if run.folder.exists() and any(run.folder.iterdir()):
            raise RunError(
                f"{run.folder}: holds files but no config.yaml, so it is not a run of this toolkit and stays untouched; "
                "choose another train.output_dir."
            )
        return run
    changed = differences(yaml.safe_load(saved.read_text(encoding="utf-8")), config)
    environment = run.folder / "environment.json"
    if environment.is_file():
        before = json.loads(environment.read_text(encoding="utf-8"))["processes"]
        if before != world_size:
            changed.append(f"number of processes: {before} -> {world_size}")
    if changed:
        lines = "\n  ".join(changed)
        raise RunError(
            f"{run.folder}: was made by another config and is not overwritten. What differs:\n  {lines}\n"
            "Set these back to continue it, or choose another train.output_dir."
        )
    if run.done.is_file():
        raise RunError(
            f"{run.folder}: this run is complete and is not overwritten; its model is in {run.model}. "
            "Choose another train.output_dir to train again."
        )
    return run


def start(run: Run, config: Config, world_size: int) -> int:
    """Create or continue the run on the first process; returns the step to continue from (0 = from the start).

    Whatever the journals say of later steps is cut off, and unfinished checkpoints are removed.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    write_text(run.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))
    if not (run.folder / "environment.json").is_file():
        write_json(run.folder / "environment.json", environment(world_size))
    for folder in run.folder.glob("checkpoint-*"):
        if not (folder / _MARK).is_file():
            shutil.rmtree(folder)
    newest = run.checkpoint()
    step = (step_of(newest) or 0) if newest else 0
    for journal in (run.metrics, run.samples):
        cut(journal, step)
    return step


def environment(world_size: int) -> dict[str, Any]:
    """What decides a run besides its config: versions, command, machine."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processes": world_size,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def append(journal: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to a journal in one write, so that a killed process leaves whole lines or one cut line at the end."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with journal.open("a", encoding="utf-8") as file:
        file.write(text)


def cut(journal: Path, step: int) -> None:
    """Drop every line of a later step, and a last line that a killed process left unfinished."""
    if not journal.is_file():
        return
    draft = journal.with_name(f".{journal.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as kept, journal.open(encoding="utf-8") as lines:
        kept.writelines(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step)
    os.replace(draft, journal)


def step_of(checkpoint: Path) -> int | None:
    """The step in a checkpoint's name.

    >>> step_of(Path("run/checkpoint-40"))
    40
    """
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
