"""How a training scores its batches: within a deadline, and alike on all processes.

Knows when rewards are called and where; knows no formula and no trainer.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import rewards
from rewards import Sample, Score, Weighted
from rewards.errors import RewardError
from rewards.part import for_task, is_batch_function, part_name
from rlkit.deadline import deadline
from rlkit.errors import ConfigError, RlkitError
from rlkit.streams import cores
from rlkit.training import processes, together
from rlkit.training.reward_workers import RewardWorkers, movable
from rlkit.training.scoring_options import Scoring

MAX_WORKERS_A_CORE = 4
_log = logging.getLogger(__name__)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # where a function lies in this process is no part of what it does
_EQUAL = 1e-6  # processors may differ in the last digits of a float


class Scorer:
    """Scores the batches of one process; `for_trl` calls it in the place of `reward.batch`.

    With `scoring.workers` the parts that other processes can score are scored there, the others here meanwhile.
    """

    def __init__(self, reward: Weighted, options: Scoring) -> None:
        self.reward, self.options = reward, options
        self._batches = 0
        self._comparable = [name for name, part in reward.parts.items() if not is_batch_function(part)]
        self._workers: RewardWorkers | None = None
        self._here: Weighted | None = reward
        if options.workers:
            self._start_workers(options.workers)

    def __call__(self, samples: Sequence[Sample], context: dict[str, Any]) -> list[Score]:
        seconds, message = self.options.timeout_seconds, self._late(len(samples))
        sent = None if self._workers is None else self._workers.submit(samples, seconds, message)
        here: Sequence[Score | None] = [None] * len(samples)
        if self._here is not None:
            with deadline(seconds, message, together.tell):
                here = self._here.batch(samples, **context)
        there = here if sent is None else sent.result()
        scores = [self._whole(*found) for found in zip(samples, there, here, strict=True)]
        every = self.options.compare_every
        if every and self._comparable and self._batches % every == 0 and processes.world_size() > 1 and samples:
            self._compare(samples[0], scores[0])
        self._batches += 1
        return scores

    def close(self) -> None:
        """End the worker processes."""
        if self._workers is not None:
            self._workers.stop()

    def in_time(self, count: int) -> AbstractContextManager[None]:
        """A block that judges `count` completions, and stops the run where it takes too long."""
        return deadline(self.options.timeout_seconds, self._late(count), together.tell)

    def _late(self, count: int) -> str:
        seconds = self.options.timeout_seconds
        return f"{count} completions were not scored within {seconds:g} s (scoring.timeout_seconds)"

    def _start_workers(self, count: int) -> None:
        most = MAX_WORKERS_A_CORE * cores()
        if count > most:
            raise ConfigError(
                f"scoring.workers: is {count}, but must be at most {most} on this machine of {cores()} cores: more processes "
                "only wait for one another."
            )
        there, stays = movable(self.reward)
        try:
            self._workers = None if there is None else RewardWorkers(there, count)
        except RlkitError as error:
            stays = [f"all parts: {error}"]
        if self._workers is not None and there is not None:
            kept = {name: part for name, part in self.reward.parts.items() if name not in there.parts}
            self._here = _of(self.reward, kept) if kept else None
        if stays and processes.rank() == 0:
            _log.warning("scoring.workers: scored in the training process all the same: %s.", "; ".join(stays))

    def _whole(self, sample: Sample, there: Score | RewardError | None, here: Score | None) -> Score:
        if isinstance(there, RewardError):
            raise there
        if there is None or here is None or there is here:
            return there or here  # type: ignore[return-value]  # one of them is there
        return self.reward.of_parts(sample, {**there.parts, **here.parts}, {**there.errors, **here.errors})

    def _compare(self, sample: Sample, score: Score) -> None:
        """Score a completion of the next process; raises `RewardError` where it earns something else here."""
        from accelerate.utils import gather_object

        theirs = gather_object([(sample, {name: score.parts[name] for name in self._comparable})])
        other = (processes.rank() + 1) % processes.world_size()
        sample, given = theirs[other]
        with self.in_time(1):
            mine = {name: self._part(name, sample) for name in self._comparable}
            for name, value in mine.items():
                if not _same(value, given[name]):
                    again = self._part(name, sample)
                    raise RewardError(
                        _difference(name, self.reward.parts[name], sample, given[name], value, again, other)
                    )

    def _part(self, name: str, sample: Sample) -> float | None:
        return _of(self.reward, [name])(copy.copy(sample)).parts[name]


def _of(reward: Weighted, names: Iterable[str]) -> Weighted:
    """Some of the parts."""
    chosen = list(names)
    return Weighted(
        {name: reward.parts[name] for name in chosen}, {name: reward.weights[name] for name in chosen}, reward.on_error
    )


def fingerprint(reward: Weighted) -> str:
    """A digest of a reward's parts, parameters and weights, and of the source files that they are defined in.

    Two processes with equal digests may still differ in what those files import, in the data that they read and in the
    machine: `Scorer` compares what completions earn.
    """
    digest = hashlib.sha256(repr((sys.version_info[:2], reward.on_error)).encode())
    files = set(Path(rewards.__file__).parent.rglob("*.py"))
    for name, part in reward.parts.items():
        inner = part.part if isinstance(part, for_task) else part
        kind = inner if hasattr(inner, "__qualname__") else type(inner)
        shown = _ADDRESS.sub("", repr(part)) if is_dataclass(inner) else ""
        digest.update(repr((name, reward.weights[name], kind.__module__, kind.__qualname__, shown)).encode())
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source is not None:
            files.add(Path(source))
    for file in sorted(files, key=lambda file: (file.name, str(file))):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_EQUAL, abs_tol=_EQUAL)


def _difference(
    name: str, part: Any, sample: Sample, theirs: float | None, ours: float | None, again: float | None, other: int
) -> str:
    if _same(ours, again):
        why = "every process must see the same code, files and packages, and no reward may depend on the process"
    else:
        why = (
            f"and {again} when asked again: it is random; draw from a seed that the row gives, random.Random(sample.id)"
        )
    return (
        f"reward {name!r} ({part_name(part)}) gives {theirs} on process {other} and {ours} on process {processes.rank()} for "
        f"the same completion of row {sample.id or '?'}; {why}. Where this is meant, as for a judge model, set "
        "scoring.compare_every: 0."
    )
