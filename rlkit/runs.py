"""The run folder: what a run leaves behind, and the rules under which a folder may be used again.

    config.yaml        the whole config, written first
    environment.json   versions, command and number of processes
    start_model/       what is trained, where the config makes a model of its own: `scratch:`, `tag_tokens: true`
    metrics.jsonl      one line a logged step
    samples.jsonl      logged completions with prompt, labels and score
    alarms.jsonl       what looked wrong, with figures and completions; there is none before the first alarm
    checkpoint-N/      TRL's checkpoints; complete ones hold rlkit.json (rlkit/checkpoints.py)
    adapter/           what LoRA has trained, without the model that it changes
    model/             the trained model, whole
    done.json          written last

A folder is never overwritten: the same config continues it, any other is refused. Knows no trainer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from rlkit import checkpoints
from rlkit.checkpoints import step_of
from rlkit.config import Config, differences
from rlkit.errors import RunError
from rlkit.plain import flat
from rlkit.whole_files import write_json, write_text

STOPPING_SECONDS = 900  # how long a run that is about to stop is waited for
LEAVING_SECONDS = 5  # and any other: what was killed a moment ago may not be gone yet
_STOPPING = "stopping"
_HELD = {errno.EAGAIN, errno.EACCES}
_REMEDY = "Remove the folder, or choose another train.output_dir."
_log = logging.getLogger(__name__)
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
        return next(iter(checkpoints.marked(self.folder)), None)

    def mark_complete(self, checkpoint: Path, facts: Mapping[str, Any]) -> None:
        """Note that a checkpoint was written to its end; only such a one is ever resumed."""
        checkpoints.mark(checkpoint, facts)


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


def identity(config: Config, world_size: int) -> dict[str, Any]:
    """What a checkpoint notes down to prove that it belongs to a run of this config on so many processes."""
    settings = flat(config.to_dict())
    settings.pop("train.output_dir", None)
    told = json.dumps(settings, sort_keys=True, default=str)
    return {"config": hashlib.sha256(told.encode()).hexdigest()[:16], "processes": world_size}


def start(run: Run, config: Config, world_size: int) -> int:
    """Create or continue the run on the first process; returns the step to continue from (0 = from the start).

    Whatever the journals say of later steps is cut off, and unfinished checkpoints are removed. The folder is this
    process's until it ends: raises `RunError` where another process trains in it, and for checkpoints of another run
    or none that is undamaged.
    """
    hold(run)
    if not run.started and run.start_model.is_dir():
        shutil.rmtree(run.start_model)  # of a run that never took a step, perhaps of another shape
    checkpoints.clear_unfinished(run.folder)
    newest = checkpoints.newest_good(run.folder, identity(config, world_size))
    write_text(run.folder / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))
    if not run.started or not (run.folder / "environment.json").is_file():
        write_json(run.folder / "environment.json", environment(world_size))
    step = step_of(newest) if newest else None
    for journal in (run.metrics, run.samples, run.alarms):
        cut(journal, -1 if step is None else step)  # a run that begins anew logs its step 0 anew
    return step or 0


def is_held(run: Run) -> bool:
    """Whether a process trains in the folder now; false as well where the file system has no locks."""
    try:
        with (run.folder / ".lock").open() as file:
            # Let go of at once, and a run that starts now waits for it.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in _HELD
    return False


def hold(run: Run) -> None:
    """Take the folder until this process ends, however it ends; the system lets go of the lock by itself.

    A run that is about to stop is waited for. Raises `RunError` where another one goes on, on whichever machine, if the
    file system passes locks on between machines.
    """
    folder = run.folder
    if folder.resolve() in _locks:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / ".lock").open("a+")
    begun = time.monotonic()
    told = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in _HELD:
                _log.warning(
                    "%s: this file system has no locks (%s), so nothing keeps a second run out of the folder.",
                    folder,
                    error.strerror,
                )
                break
            file.seek(0)
            holder = file.read().strip() or "?"
            stopping = _STOPPING in holder
            if time.monotonic() - begun > (STOPPING_SECONDS if stopping else LEAVING_SECONDS):
                file.close()
                raise RunError(
                    f"{folder}: process {holder} is training in this folder; wait for it, stop it, or choose "
                    "another train.output_dir."
                ) from error
        if stopping and not told:
            _log.info("%s: process %s; waiting for its checkpoint.", folder, holder)
            told = True
        time.sleep(0.2)
    _sign(file)
    _locks[folder.resolve()] = file


def tell_stopping(run: Run) -> None:
    """Let whoever wants the folder next know that it is worth waiting."""
    lock = _locks.get(run.folder.resolve())
    if lock is not None:
        _sign(lock, f" ({_STOPPING})")


def _sign(lock: IO[str], remark: str = "") -> None:
    lock.truncate(0)
    lock.write(f"{os.getpid()} on {socket.gethostname()}{remark}")
    lock.flush()


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
