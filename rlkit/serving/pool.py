"""Worker processes that score rows, and that may die: killed by the system, out of memory, or over their deadline.

A process that dies is started anew and its row tried once more. Knows processes and deadlines; knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from rewards.compose import Weighted
from rlkit.errors import RlkitError
from rlkit.serving.bodies import Row, error_row, score_row

CHUNK_ROWS = 16  # the most a process is given at a time: enough to make messages cheap, few enough to be shared out
FLUSH_SECONDS = 0.05  # results are handed over this often: a message a row would cost as much as scoring it
START_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Pool:
    """Several processes with the same reward; `score` shares the rows of a batch out among them."""

    def __init__(self, reward: Weighted, workers: int) -> None:
        # Not forked: a fork of a process with threads may hold a lock that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        self.workers = [_Worker(context, reward) for _ in range(workers)]
        self.restarts = 0
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="scorer")
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()

    async def start(self) -> None:
        """Start every process and wait until it can score; raises `RlkitError` where one cannot."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, worker.start) for worker in self.workers))
        for worker in self.workers:
            self._idle.put_nowait(worker)

    def stop(self) -> None:
        """End every process at once."""
        for worker in self.workers:
            worker.kill()
        self._threads.shutdown()
        for worker in self.workers:
            worker.kill()  # again, for one that a thread had just started
            worker.join()

    def pids(self) -> list[int]:
        """The process ids of those that run."""
        return [pid for worker in self.workers if (pid := worker.pid()) is not None]

    async def score(self, rows: Sequence[Row], seconds: float) -> list[bytes]:
        """One result a row, in order; rows that are not scored within `seconds` are results with an error."""
        deadline = asyncio.get_running_loop().time() + seconds
        results: list[bytes] = [b""] * len(rows)
        size = max(1, min(CHUNK_ROWS, -(-len(rows) // len(self.workers))))  # a small batch is for all processes too
        starts = iter(range(0, len(rows), size))

        async def take_chunks() -> None:
            # As many at a time as there are processes, so that a small batch need not wait for all of a large one.
            for start in starts:
                chunk = await self._score_chunk(rows[start : start + size], deadline, seconds)
                results[start : start + len(chunk)] = chunk

        await asyncio.gather(*(take_chunks() for _ in self.workers))
        return results

    async def _score_chunk(self, rows: Sequence[Row], deadline: float, seconds: float) -> list[bytes]:
        results: list[bytes] = []
        alone = False
        while rest := rows[len(results) :]:
            # After a death the rows go one by one, so that it is known which of them kills.
            asked = rest[:1] if alone else rest
            given = await self._score_some(asked, deadline)
            results += given
            if len(given) == len(asked):
                continue
            if asyncio.get_running_loop().time() >= deadline:
                late = f"not scored within {seconds:g} s, the deadline of a request; send fewer rows at a time"
                results += [error_row(place, f"row {place}: {late}.") for place, _ in rest[len(given) :]]
            elif alone:
                died = "the process that scored it died, killed or out of memory, and so did the next"
                results.append(error_row(rest[0][0], f"row {rest[0][0]}: {died}."))
            alone = True
        return results

    async def _score_some(self, rows: Sequence[Row], deadline: float) -> list[bytes]:
        """The results of the first rows, fewer than were asked for where the process died or the deadline passed."""
        loop = asyncio.get_running_loop()
        try:
            worker = await asyncio.wait_for(self._idle.get(), deadline - loop.time())
        except asyncio.TimeoutError:
            return []
        timer = loop.call_at(deadline, worker.kill)
        try:
            results = await loop.run_in_executor(self._threads, worker.score, rows)
        except asyncio.CancelledError:
            worker.kill()  # its thread would otherwise go on with rows that nobody waits for
            raise
        finally:
            timer.cancel()
            self._idle.put_nowait(worker)
        if len(results) < len(rows):
            self.restarts += 1
            _log.warning("a worker process died and is replaced; rows %d to %d of a request are scored again, or late",
                         rows[len(results)][0], rows[-1][0])  # fmt: skip
        return results


class _Worker:
    """One process, used by one thread at a time; `kill` may come from another."""

    def __init__(self, context: multiprocessing.context.SpawnContext, reward: Weighted) -> None:
        self._context = context
        self._reward = reward
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        """Start the process and return the pipe to it; raises `RlkitError`."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._reward), name="scorer", daemon=True)
        try:
            process.start()
            theirs.close()
            self._process = process
            if not ours.poll(START_SECONDS):
                raise RlkitError(f"a worker process was not ready after {START_SECONDS:g} s.")
            ours.recv_bytes()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RlkitError(
                f"the reward cannot be sent to worker processes ({error}); define functions and classes at the top of a "
                "module."
            ) from error
        except (EOFError, OSError) as error:
            raise RlkitError(f"a worker process cannot be started: {type(error).__name__}: {error}.") from error
        self._pipe = ours
        return ours

    def score(self, rows: Sequence[Row]) -> list[bytes]:
        """The results of the rows in order, fewer where the process died; it is started first where it is not alive."""
        results: list[bytes] = []
        try:
            # One that died while it was idle is no fault of these rows.
            pipe = self._pipe if self._pipe is not None and self.pid() is not None else self.start()
            pipe.send_bytes(b"\n".join(b"%d %s" % row for row in rows))
            while len(results) < len(rows):
                results += pipe.recv_bytes().split(b"\n")
        except (EOFError, OSError, RlkitError) as error:
            if isinstance(error, RlkitError):
                _log.error("%s", error)
            self.kill()
            self._pipe = None
        return results

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def join(self) -> None:
        if self._process is not None:
            self._process.join()

    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.is_alive() else None


def _work(pipe: Connection, reward: Weighted) -> None:
    """A worker process: rows in, results out, until the pipe closes."""
    # A terminal's interrupt, and a service manager's end signal, reach the whole group; when to end is the server's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        pipe.send_bytes(b"ready")
        while True:
            results: list[bytes] = []
            sent = time.monotonic()
            for line in pipe.recv_bytes().split(b"\n"):
                place, _, text = line.partition(b" ")
                results.append(score_row(reward, (int(place), text)))
                if time.monotonic() - sent > FLUSH_SECONDS:
                    pipe.send_bytes(b"\n".join(results))
                    results, sent = [], time.monotonic()
            if results:
                pipe.send_bytes(b"\n".join(results))
    except (EOFError, OSError):  # the server is gone
        return
