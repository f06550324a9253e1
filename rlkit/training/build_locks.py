"""Locks that a killed process has left in torch's folder of compiled extensions.

DeepSpeed compiles parts of itself on a machine's first run and loads them with every further one (its Adam on the CPU, its
gloo helper), each time under a lock that is a mere file. A process that is killed while it holds one leaves it behind, and
every later run of the user waits for it without end and without a word. Knows files; knows nothing of training.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

FOREIGN_SECONDS = 60.0  # a lock that is younger may be held on another machine that shares the folder
_log = logging.getLogger(__name__)


def free_abandoned(folders: list[Path], patience: float = FOREIGN_SECONDS) -> list[Path]:
    """Remove every lock below the folders that nobody holds, and return their paths.

    A lock counts as abandoned when no process of this machine has it open and it is `patience` seconds old; a younger one
    that nobody here holds is waited for. One that is held is left alone: its holder will let go of it.
    """
    freed = []
    for lock in (lock for folder in folders for lock in _locks(folder)):
        while (age := _age(lock)) is not None and not _held(lock):
            if age < patience:
                time.sleep(min(1.0, patience - age))
                continue
            lock.unlink(missing_ok=True)
            freed.append(lock)
            _log.warning("removed %s, left by a killed process: every run here would have waited for it", lock)
    return freed


def build_folders() -> list[Path]:
    """Where torch keeps what it compiles for this user."""
    from torch.utils.cpp_extension import get_default_build_root

    named = os.environ.get("TORCH_EXTENSIONS_DIR")
    return [Path(named)] if named else [Path(get_default_build_root())]


def _locks(folder: Path) -> Iterator[Path]:
    for pattern in ("*/lock", "*/*/lock"):  # the folder of a build, with or without one of Python's version above it
        yield from sorted(folder.glob(pattern))


def _age(lock: Path) -> float | None:
    try:
        return time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return None


def _held(lock: Path) -> bool:
    """Whether a process of this machine has the file open, as long as it holds the lock."""
    path = os.path.realpath(lock)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == path:
                return True
        except OSError:
            continue
    return not Path("/proc/self/fd").is_dir()  # nothing can be known here
