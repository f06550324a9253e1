"""Worker processes that do one thing many times, and that may die: killed by the system, out of memory, or over time.

A process that dies is started anew and its job tried once more. Knows processes and deadlines; knows nothing of the jobs.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Literal, TypeVar

from rlkit.errors import RlkitError

Job = TypeVar("Job")
Result = TypeVar("Result")
Fate = Literal["late", "died"]  # of a job without a result: not done in time, or two processes have died of it
CHUNK_JOBS = 16  # the most a process is given at a time: enough to make messages cheap, few enough to be shared out
FLUSH_SECONDS = 0.05  # results are handed over this often: a message a job would cost as much as a short job
START_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Workers(Generic[Job, Result]):
    """Several processes with the same work; `map` shares the jobs of a batch out among them.

    `lost(job, fate)` is the result of a job that has none. Work, jobs and results must pickle.
    """

    def __init__(
        self, work: Callable[[Job], Result], processes: int, lost: Callable[[Job, Fate], Result], name: str = "worker"
    ) -> None:
        # Not forked: a fork of a process with threads may hold a lock that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        self.workers: list[_Worker[Job, Result]] = [_Worker(context, work, name) for _ in range(processes)]
        self.restarts = 0
        self._lost = lost
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix=name)
        self._idle: asyncio.Queue[_Worker[Job, Result]] = asyncio.Queue()

    async def start(self) -> None:
        """Start every process and wait until it can work; raises `RlkitError` where one cannot."""
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

    async def map(self, jobs: Sequence[Job], seconds: float) -> list[Result]:
        """One result a job, in order; what is not done within `seconds` is lost."""
        deadline = asyncio.get_running_loop().time() + seconds
        found: dict[int, list[Result]] = {}
        size = max(1, min(CHUNK_JOBS, -(-len(jobs) // len(self.workers))))  # a small batch is for all processes too
        starts = iter(range(0, len(jobs), size))

        async def take_chunks() -> None:
            # As many at a time as there are processes, so that a small batch need not wait for all of a large one.
            for start in starts:
                found[start] = await self._chunk(jobs[start : start + size], deadline)

        await asyncio.gather(*(take_chunks() for _ in self.workers))
        return [result for start in sorted(found) for result in found[start]]

    async def _chunk(self, jobs: Sequence[Job], deadline: float) -> list[Result]:
        results: list[Result] = []
        alone = False
        while rest := jobs[len(results) :]:
            # After a death the jobs go one by one, so that it is known which of them kills.
            asked = rest[:1] if alone else rest
            given = await self._some(asked, deadline)
            results += given
            if len(given) == len(asked):
                continue
            if asyncio.get_running_loop().time() >= deadline:
                results += [self._lost(job, "late") for job in rest[len(given) :]]
            elif alone:
                results.append(self._lost(rest[0], "died"))
            alone = True
        return results

    async def _some(self, jobs: Sequence[Job], deadline: float) -> list[Result]:
        """The results of the first jobs, fewer than were asked for where the process died or the deadline passed."""
        loop = asyncio.get_running_loop()
        try:
            worker = await asyncio.wait_for(self._idle.get(), deadline - loop.time())
        except asyncio.TimeoutError:
            return []
        timer = loop.call_at(deadline, worker.kill)
        try:
            results = await loop.run_in_executor(self._threads, worker.do, jobs)
        except asyncio.CancelledError:
            worker.kill()  # its thread would otherwise go on with jobs that nobody waits for
            raise
        finally:
            timer.cancel()
            self._idle.put_nowait(worker)
        if len(results) < len(jobs):
            self.restarts += 1
            _log.warning(
                "a worker process has died and is replaced; rows that it had not scored are scored again, or late"
            )
        return results


class _Worker(Generic[Job, Result]):
    """One process, used by one thread at a time; `kill` may come from another."""

    def __init__(self, context: multiprocessing.context.SpawnContext, work: Callable[[Job], Result], name: str) -> None:
        self._context, self._work, self._name = context, work, name
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> Connection:
        """Start the process and return the pipe to it; raises `RlkitError`."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._work), name=self._name, daemon=True)
        try:
            process.start()
            theirs.close()
            self._process = process
            if not ours.poll(START_SECONDS):
                raise RlkitError(f"a worker process was not ready after {START_SECONDS:g} s.")
            ours.recv()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RlkitError(
                f"the work cannot be sent to worker processes ({error}); define functions and classes at the top of a "
                "module."
            ) from error
        except (EOFError, OSError) as error:
            raise RlkitError(f"a worker process cannot be started: {type(error).__name__}: {error}.") from error
        self._pipe = ours
        return ours

    def do(self, jobs: Sequence[Job]) -> list[Result]:
        """The results of the jobs in order, fewer where the process died; it is started first where it is not alive."""
        results: list[Result] = []
        try:
            # One that died while it was idle is no fault of these jobs.
            pipe = self._pipe if self._pipe is not None and self.pid() is not None else self.start()
            pipe.send(jobs)
            while len(results) < len(jobs):
                results += pipe.recv()
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


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """A worker process: jobs in, results out, until the pipe closes."""
    # A terminal's interrupt, and a service manager's end signal, reach the whole group; when to end is the owner's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        pipe.send("ready")
        while True:
            results: list[Any] = []
            sent = time.monotonic()
            for job in pipe.recv():
                results.append(work(job))
                if time.monotonic() - sent > FLUSH_SECONDS:
                    pipe.send(results)
                    results, sent = [], time.monotonic()
            if results:
                pipe.send(results)
    except (EOFError, OSError):  # the owner is gone
        return
