"""Large line files through a function, in order, in bounded memory, over several processes.

Knows lines and processes; knows nothing of what the lines mean.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, Any, TypeVar

from rlkit.errors import RlkitError

T = TypeVar("T")
Work = Callable[[int, list[bytes]], T]
CHUNK_BYTES = 512 * 1024  # what a process works on at a time; memory stays within a few of these for each process


def map_lines(path: Path, work: Work[T], workers: int) -> Iterator[tuple[int, T]]:
    """`work(number of the first line, lines)` for every chunk of a file, in order, each with the bytes read so far.

    At most two chunks a worker are under way. The first exception, in the order of the file, is raised. Raises
    `RlkitError` where the work cannot be sent to other processes, or one of them was killed.
    """
    size = 0
    if workers == 1:
        for number, lines in _chunks(path):
            size += sum(map(len, lines))
            yield size, work(number, lines)
        return
    if multiprocessing.get_start_method() != "fork":
        _check_picklable(work)
    pending: deque[tuple[int, Future[T]]] = deque()
    with ProcessPoolExecutor(workers, initializer=_set_work, initargs=(work,)) as pool:
        try:
            for number, lines in _chunks(path):
                size += sum(map(len, lines))
                pending.append((size, pool.submit(_do_work, number, lines)))
                if len(pending) >= 2 * workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        except BrokenProcessPool as error:
            raise RlkitError(
                f"{path}: a worker process died, most likely for want of memory; try again with one worker."
            ) from error
        finally:
            for _, future in pending:
                future.cancel()


@contextlib.contextmanager
def appears_when_done(out: Path | None) -> Iterator[IO[bytes] | None]:
    """A file that takes its name only when everything is in it, so that half a result is never taken for a whole one."""
    if out is None:
        yield None
        return
    if out.is_dir() or not out.parent.is_dir():
        raise RlkitError(f"{out}: cannot be written; the folder {out.parent} must exist, and {out.name} be no folder.")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        try:
            file = part.open("wb")
        except OSError as error:
            raise RlkitError(f"{out}: cannot be written: {error.strerror}.") from error
        with file:
            yield file
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    first = 1
    with path.open("rb") as file:
        while lines := file.readlines(CHUNK_BYTES):
            yield first, lines
            first += len(lines)


_work: Work[Any] | None = None  # a process is given its work once, not with every chunk


def _set_work(work: Work[Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to answer, once


def _do_work(number: int, lines: list[bytes]) -> Any:
    if _work is None:
        raise RuntimeError("this process was given no work")
    return _work(number, lines)


def _check_picklable(work: Work[Any]) -> None:
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RlkitError(
            f"the work cannot be sent to other processes ({error}); define functions and classes at the top of a module, "
            "or use one worker."
        ) from error
