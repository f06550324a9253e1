"""Worker processes that score completions beside a training process.

Only parts that judge one sample by itself can be sent there; what needs a whole batch, or does not pickle, stays. Knows
rewards and processes; imports no trainer, because the workers import this file.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from typing import Any

from rewards import Sample, Score, Weighted
from rewards.errors import RewardError
from rewards.part import is_batch_function, part_name
from rlkit.deadline import deadline
from rlkit.errors import RlkitError
from rlkit.workers import Fate, Workers

REPORT_SECONDS = 2.0  # what a worker has to say where it was, after its time and before it is killed
_ROW = ("id", "question", "prompt", "context", "golds", "evidence", "sessions", "columns")
_log = logging.getLogger(__name__)
Job = tuple[float, str, Sample]  # until when on the monotonic clock, what to say then, what to score


def movable(reward: Weighted) -> tuple[Weighted | None, list[str]]:
    """The parts of a reward that another process can score, and why each other one stays.

    >>> from rewards import exact_match, weighted
    >>> there, stays = movable(weighted(a=(0.5, exact_match()), b=(0.5, lambda sample: 1.0)))
    >>> list(there.parts), stays[0][:51]
    (['a'], 'b (<lambda>): cannot be sent to another process (Ca')
    """
    parts: dict[str, Any] = {}
    stays: list[str] = []
    for name, part in reward.parts.items():
        if is_batch_function(part):
            stays.append(f"{name} ({part_name(part)}): is a TRL-style function, which takes a batch as a whole")
            continue
        try:
            pickle.dumps(part)
        except Exception as error:  # pickling runs code of the part
            why = f"cannot be sent to another process ({error}); define it at the top of a module"
            stays.append(f"{name} ({part_name(part)}): {why}")
        else:
            parts[name] = part
    weights = {name: reward.weights[name] for name in parts}
    return (Weighted(parts, weights, reward.on_error) if parts else None), stays


class RewardWorkers:
    """Processes that score by `reward`; started once, used for every batch, ended by `stop`."""

    def __init__(self, reward: Weighted, count: int) -> None:
        """Start them; raises `RlkitError` where one cannot score."""
        self._workers: Workers[Job, Score | RewardError] = Workers(partial(score_job, reward), count, _lost, "reward")
        self._loop = asyncio.new_event_loop()
        # A loop of its own, in a thread, so that the caller goes on meanwhile, and may itself run in a loop.
        self._thread = threading.Thread(target=self._loop.run_forever, name="reward workers", daemon=True)
        self._thread.start()
        try:
            self._run(self._workers.start()).result()
        except RlkitError:
            self.stop()
            raise

    def submit(self, samples: Sequence[Sample], seconds: float, message: str) -> Future[list[Score | RewardError]]:
        """Begin to score a batch; the result holds a score or an error for each sample, and comes in time."""
        until = time.monotonic() + seconds
        jobs = [(until, message, sample) for sample in with_shared_rows(samples)]
        return self._run(self._workers.map(jobs, seconds + REPORT_SECONDS))

    @property
    def restarts(self) -> int:
        """How many of them have died and were replaced."""
        return self._workers.restarts

    def stop(self) -> None:
        """End them at once."""
        self._workers.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def score_job(reward: Weighted, job: Job) -> Score | RewardError:
    """What a worker process does: the score of one sample, or the error that ends the run."""
    until, message, sample = job
    try:
        with deadline(until - time.monotonic(), message):
            return reward(sample)
    except RewardError as error:
        return error


def with_shared_rows(samples: Sequence[Sample]) -> list[Sample]:
    """The samples, those of one row with the same objects in them: a long context is sent and unpacked once."""
    shared = list(samples[:1])
    for before, sample in pairwise(samples):
        if all(getattr(before, name) == getattr(sample, name) for name in _ROW):
            sample = copy.copy(sample)
            sample.__dict__.update({name: getattr(shared[-1], name) for name in _ROW})
        shared.append(sample)
    return shared


def _lost(job: Job, fate: Fate) -> RewardError:
    _, message, sample = job
    if fate == "late":
        return RewardError(f"row {sample.id or '?'}: {message}, and it could not be interrupted")
    return RewardError(
        f"row {sample.id or '?'}: the worker process that scored it died, killed or out of memory, and so did the next; "
        "take fewer scoring.workers if memory is short."
    )
