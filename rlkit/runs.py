"""The run folder: what a run leaves behind, and the rules under which a folder may be used again.

    config.yaml        the whole config, written first
    environment.json   versions, command and number of processes
    start_model/       what is trained, where the config makes a model of its own: `scratch:`, `tag_tokens: true`
    metrics.jsonl      one line a logged step
    samples.jsonl      logged completions with prompt, labels and score
    alarms.jsonl       what looked wrong, with figures and completions; there is none before the first alarm
    checkpoint-N/      TRL's checkpoints; complete ones hold rlkit.json
    adapter/           what LoRA has trained, without the model that it changes
    model/             the trained model, whole
    done.json          written last

A folder is never overwritten: the same config continues it, any other is refused. Knows no trainer.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from rlkit.config import Config, differences
from rlkit.errors import RunError

_MARK = "rlkit.json"
_REMEDY = "Remove the folder, or choose another train.output_dir."
_locks: dict[Path, IO[str]] = {}  # open files, because closing one lets go of its lock
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
    def alarms(self) -> Path:
        return self.folder / "alarms.jsonl"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def start_model(self) -> Path:
        return self.folder / "start_model"

    @property
    def done(self) -> Path:
        return self.folder / "done.json"

    @property
    def started(self) -> bool:
        """Whether there is anything to lose: a logged step, a checkpoint, a trained model."""
        logged = self.metrics.is_file() and self.metrics.stat().st_size > 0
        return logged or self.done.is_file() or self.checkpoint() is not None

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that was written to its end, or `None`."""
        found = [p for p in self.folder.glob("checkpoint-*") if (p / _MARK).is_file() and step_of(p) is not None]
        return max(found, key=lambda p: step_of(p) or 0, default=None)

    def mark_complete(self, checkpoint: Path, facts: Mapping[str, Any]) -> None:
        """Note that a checkpoint was written to its end; only such a one is ever resumed."""
        write_json(checkpoint / _MARK, facts)


def open_run(config: Config, *, world_size: int = 1, must_exist: bool = False) -> Run:
    """Check that the config's `output_dir` may be used, without writing anything.

    Free, an unfinished run of the same config, or one that stopped before its first step: fine. Raises `RunError` for a
    finished run, a run of another config (naming what differs), somebody else's or damaged files, or nothing to resume
    where `must_exist` asks for it.
    """
    run = Run(config.output_dir)
    saved = run.folder / "config.yaml"
    for place in (run.folder, *run.folder.parents):
        if place.exists() and not place.is_dir():
            raise RunError(
                f"{run.folder}: {place} is a file, so there can be no run folder; choose another train.output_dir."
            )
    if not saved.is_file():
        if must_exist:
            raise RunError(f"{run.folder}: there is no run to resume; leave out --resume to start one.")
        if run.folder.exists() and any(not item.name.startswith(".") for item in run.folder.iterdir()):
            raise RunError(
                f"{run.folder}: holds files but no config.yaml, so it is not a run of this toolkit and stays untouched; "
                "choose another train.output_dir."
            )
        return run
    before = _read(saved, yaml.safe_load)
    changed = differences(before, config)
    environment = run.folder / "environment.json"
    if environment.is_file():
        processes = _read(environment, json.loads).get("processes")
        if processes != world_size:
            changed.append(f"number of processes: {processes} -> {world_size}")
    if changed and run.started:
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

    Whatever the journals say of later steps is cut off, and unfinished checkpoints are removed. The folder is this
    process's until it ends: raises `RunError` where another process trains in it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    _lock(run.folder)
    if not run.started and run.start_model.is_dir():
        shutil.rmtree(run.start_model)  # of a run that never took a step, perhaps of another shape
    write_text(run.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))
    if not run.started or not (run.folder / "environment.json").is_file():
        write_json(run.folder / "environment.json", environment(world_size))
    for folder in run.folder.glob("checkpoint-*"):
        if not (folder / _MARK).is_file():
            shutil.rmtree(folder)
    newest = run.checkpoint()
    step = (step_of(newest) or 0) if newest else 0
    for journal in (run.metrics, run.samples, run.alarms):
        cut(journal, step)
    return step


def _lock(folder: Path) -> None:
    """Hold the folder until this process ends, however it ends; the system lets go of the lock by itself."""
    if folder.resolve() in _locks:
        return
    file = (folder / ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "?"
        file.close()
        raise RunError(
            f"{folder}: process {holder} is training in this folder; wait for it, stop it, or choose "
            "another train.output_dir."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _locks[folder.resolve()] = file


def release(run: Run) -> None:
    """Let go of the run's folder, for a process that goes on to do other things."""
    lock = _locks.pop(run.folder.resolve(), None)
    if lock is not None:
        lock.close()


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The mapping in one of a run's own files."""
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, OSError) as error:
        raise RunError(
            f"{path}: cannot be read ({str(error).splitlines()[0]}); the run folder is damaged. {_REMEDY}"
        ) from error
    if not isinstance(value, dict):
        raise RunError(
            f"{path}: holds {type(value).__name__} in place of a mapping; the run folder is damaged. {_REMEDY}"
        )
    return value


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
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                break
            try:
                keep = json.loads(line)["step"] <= step
            except (ValueError, KeyError, TypeError) as error:
                draft.unlink()
                raise RunError(
                    f"{journal}:{number}: is no line of a journal; the run folder is damaged. {_REMEDY}"
                ) from error
            if keep:
                kept.write(line)
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


def write_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make a folder whole or not at all: `fill` writes into another one, which then takes its name."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True, exist_ok=True)
    fill(temporary)
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(temporary)  # it is there already, from another process or an earlier start
    return folder
