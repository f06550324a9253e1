"""How a training scores its batches: within a deadline, and alike on all processes.

Knows when rewards are called and where; knows no formula and no trainer.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import rewards
from rewards import Sample, Score, Weighted
from rewards.errors import RewardError
from rewards.part import for_task, is_batch_function, part_name
from rlkit.deadline import deadline
from rlkit.training import processes, together
from rlkit.training.scoring_options import Scoring

_EQUAL = 1e-6  # processors may differ in the last digits of a float


class Scorer:
    """Scores the batches of one process; `for_trl` calls it in the place of `reward.batch`."""

    def __init__(self, reward: Weighted, options: Scoring) -> None:
        self.reward, self.options = reward, options
        self._batches = 0
        alone = {name for name, part in reward.parts.items() if not is_batch_function(part)}
        self._comparable = {name: (reward.weights[name], reward.parts[name]) for name in reward.parts if name in alone}

    def __call__(self, samples: Sequence[Sample], context: dict[str, Any]) -> list[Score]:
        with self.in_time(len(samples)):
            scores = self.reward.batch(samples, **context)
        every = self.options.compare_every
        if every and self._batches % every == 0 and processes.world_size() > 1 and samples:
            self._compare(samples[0], scores[0])
        self._batches += 1
        return scores

    def in_time(self, count: int) -> AbstractContextManager[None]:
        """A block that judges `count` completions, and stops the run where it takes too long."""
        seconds = self.options.timeout_seconds
        message = f"{count} completions were not scored within {seconds:g} s (scoring.timeout_seconds)"
        return deadline(seconds, message, together.tell)

    def _compare(self, sample: Sample, score: Score) -> None:
        """Score a completion of the next process; raises `RewardError` where it earns something else here."""
        from accelerate.utils import gather_object

        fresh = sample.with_completion(sample.completion)  # without what this process has parsed
        theirs = gather_object([(fresh, {name: score.parts[name] for name in self._comparable})])
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
        alone = Weighted({name: self.reward.parts[name]}, {name: 1.0}, self.reward.on_error)
        return alone(sample).parts[name]


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
        shown = repr(part) if is_dataclass(inner) else ""
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
