"""One process fails, all stop: its error ends the others wherever they wait, also inside a collective operation.

A store beside the process group carries a single word. Costs nothing while a run goes on. Knows processes; knows nothing
of rewards, models or data.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from rlkit.errors import RlkitError
from rlkit.training.processes import FailedElsewhere, rank, world_size

GRACE_SECONDS = 5.0  # what a process that is told to stop gets to end by itself
_WELL = b"well"  # the word when nothing has failed; else it is the number of the process that has
_GONE = "process 0 has ended without a word, killed or out of memory; start the same command again to continue."

_link: _Link | None = None


@contextlib.contextmanager
def stopping_together() -> Iterator[None]:
    """Run a block in every process of a group; an exception in one ends all, and only its text is printed.

    The process that fails first raises its own exception. The others raise `FailedElsewhere`, or, where they wait in a
    collective operation, end with the same exit code after a few seconds.
    """
    global _link
    if world_size() == 1:
        yield
        return
    _link = link = _Link()
    try:
        yield
        link.leave()
    except FailedElsewhere:
        raise
    except SystemExit:  # all processes end here alike, as they were told to
        link.leave()
        raise
    except Exception as error:
        if not link.first_to_fail():
            time.sleep(GRACE_SECONDS)  # a launcher ends all when one ends; the first to fail has to say why before
            raise FailedElsewhere(2) from error
        if link.gone:
            raise RlkitError(_GONE) from error
        link.tell()
        raise
    finally:
        link.close()


def tell() -> None:
    """Have the other processes stop, from a process that is about to end at once."""
    if _link is not None and _link.first_to_fail():
        _link.tell()


class _Link:
    """The store, and the thread that waits for the word in it."""

    def __init__(self) -> None:
        import torch.distributed

        host = os.environ["MASTER_ADDR"]
        port: list[int] = [0]
        if rank() == 0:
            self._server = _store(host, 0, serve=True)
            port = [self._server.port]
        torch.distributed.broadcast_object_list(port, src=0)
        # Two connections, because one that waits is taken.
        self._speaking, self._waiting = _store(host, port[0]), _store(host, port[0])
        self._left, self._woken = threading.Event(), threading.Event()
        self.gone = False
        threading.Thread(target=self._listen, name="together", daemon=True).start()

    def first_to_fail(self) -> bool:
        """Whether no other process has failed before."""
        try:
            return self._speaking.add("failed", 1) == 1
        except RuntimeError:  # the first process is gone, and with it the store; one of the others has to say so
            self.gone = not self._left.is_set()
            return rank() == 1

    def tell(self) -> None:
        """Wake the others and wait until they know, because the store ends with the first process."""
        with contextlib.suppress(RuntimeError):
            self._say(str(rank()).encode(), range(world_size()))
            until = time.monotonic() + GRACE_SECONDS
            while self._speaking.add("told", 0) < world_size() - 1 and time.monotonic() < until:
                time.sleep(0.02)

    def leave(self) -> None:
        """The block is done here; the first process says so to the others before its store ends."""
        self._left.set()
        if rank() == 0:
            with contextlib.suppress(RuntimeError):
                self._say(_WELL, range(world_size()))

    def close(self) -> None:
        """Have the thread come back from the store: at the end of the interpreter it would bring the process down."""
        if not self._woken.is_set():
            with contextlib.suppress(RuntimeError):
                self._say(_WELL, [rank()])
            self._woken.wait(GRACE_SECONDS)

    def _say(self, word: bytes, to: Iterable[int]) -> None:
        for process in to:
            self._speaking.set(f"word to {process}", word)
        self._speaking.get(f"word to {rank()}")  # so that all have arrived

    def _listen(self) -> None:
        word = self._next_word()
        self._woken.set()
        if self._left.is_set() or word in (_WELL, str(rank()).encode()):
            return
        with contextlib.suppress(RuntimeError):
            self._speaking.add("told", 1)
        time.sleep(GRACE_SECONDS)  # the process has ended by then, unless it waits for one that is gone
        if word is None and rank() == 1:
            print(f"[process 1] error: {_GONE}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)

    def _next_word(self) -> bytes | None:
        import torch.distributed

        key = f"word to {rank()}"
        while True:
            try:
                self._waiting.wait([key], timedelta(hours=1))
                return self._waiting.get(key)
            except torch.distributed.DistNetworkError:
                return None
            except torch.distributed.DistStoreError:  # nothing in an hour
                continue


def _store(host: str, port: int, serve: bool = False) -> Any:
    from torch.distributed import TCPStore

    return TCPStore(host, port, is_master=serve, wait_for_workers=False)
