"""A block of code that must end in time, or stops with an error that says where it was.

Python code, sleeping and waiting calls are interrupted by an alarm signal. What cannot be interrupted ends the process.
Knows time and signals; imports nothing heavy, because worker processes use it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rewards.compose import Weighted
from rewards.errors import OutOfTime, RewardError

GRACE_SECONDS = 10.0  # between the alarm and the end of a process that does not heed it
LOOK_SECONDS = 1.0
_end: tuple[float, Callable[[], None]] | None = None  # when the process is to end, and how
_watcher: threading.Thread | None = None


@contextlib.contextmanager
def deadline(seconds: float, message: str, last_words: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise `RewardError` with `message` where the block takes longer than `seconds`.

    A composed reward adds part and row to the message. Code that swallows the alarm, or waits in a library that no
    signal reaches, ends the whole process with exit code 2 ten seconds later; `last_words` is called before.
    Outside the main thread, where no signal arrives, only the latter holds.

    >>> with deadline(0.05, "it takes too long"):
    ...     time.sleep(10)
    Traceback (most recent call last):
    rewards.errors.RewardError: it takes too long
    """

    if seconds <= 0:
        raise RewardError(message)

    def ring(number: int, frame: Any) -> None:
        raise OutOfTime(message)

    def give_up() -> None:
        who = f"[process {os.environ['RANK']}] " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""
        print(
            f"{who}error: {_place()}{message}, and it cannot be interrupted. Where it is:", file=sys.stderr, flush=True
        )
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        if last_words is not None:
            last_words()
        os._exit(2)

    global _end
    outer, _end = _end, (time.monotonic() + seconds + GRACE_SECONDS, give_up)
    _watch()
    here = threading.current_thread() is threading.main_thread()
    started = time.monotonic()
    handler, pending = None, (0.0, 0.0)
    try:
        if here:
            handler = signal.signal(signal.SIGALRM, ring)
            pending = signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    except OutOfTime as error:
        raise RewardError(message) from error
    finally:
        if here:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if pending[0]:  # an alarm that somebody else had set goes on
                signal.setitimer(signal.ITIMER_REAL, max(pending[0] - (time.monotonic() - started), 1e-3), pending[1])
        _end = outer


def _watch() -> None:
    """Have the thread run that ends the process; one for all deadlines, because starting one costs more than a batch."""
    global _watcher
    if _watcher is None or not _watcher.is_alive():  # in a forked process there is none any more
        _watcher = threading.Thread(target=_look, name="deadline", daemon=True)
        _watcher.start()


def _look() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        end = _end
        if end is not None and time.monotonic() > end[0]:
            end[1]()


def _place() -> str:
    """The part and the row that the main thread is at, as far as it is scoring."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code is not Weighted._guard.__code__:
        frame = frame.f_back
    return "" if frame is None else f"reward {frame.f_locals['name']!r} failed on {frame.f_locals['where']}: "
