"""Context fidelity: does the answer follow the passages when they contradict what the model learnt before?

Rows come in pairs: the same question over a factual and over a counterfactual context, in the columns `pair`, `version`
("factual" or "counterfactual") and `prior_answer`. Knows answers alone; refuses to know the passages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rewards.errors import RowError, nearest
from rewards.sample import Sample
from rewards.text import same_answer
from rlkit.evaluation.metrics.answers import em, final_answer, golds_of

Version = Literal["factual", "counterfactual"]
VERSIONS = ("factual", "counterfactual")


@dataclass(frozen=True)
class em_on:
    """Exact match on the rows of one version; `None` on all others.

    >>> row = Sample.from_record({"golds": "Porto", "version": "counterfactual", "prior_answer": "Lisbon"}, completion="Lisbon")
    >>> em_on("counterfactual")(row), em_on("factual")(row), prior_answer()(row)
    (0.0, None, 1.0)
    """

    version: Version
    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        return version_of(sample) == self.version

    def __call__(self, sample: Sample) -> float | None:
        return em(self.strict)(sample) if self.applies(sample) else None


@dataclass(frozen=True)
class fidelity_gap:
    """Accuracy on factual rows minus accuracy on counterfactual ones, from -1 to 1; 0 is a model that reads its context.

    A figure of many rows: a row gives (right, rows) of its version, in two pairs of numbers that add up. Rows with the same
    `pair` are resampled together.

    >>> gap = fidelity_gap()
    >>> gap(Sample.from_record({"golds": "Lisbon", "version": "factual"}, completion="Lisbon"))
    (1.0, 1.0, 0.0, 0.0)
    >>> gap.figure((9, 10, 6, 10))
    0.30000000000000004
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        return bool(version_of(sample))

    def __call__(self, sample: Sample) -> tuple[float, ...] | None:
        version = version_of(sample)
        if not version:
            return None
        right = em(self.strict)(sample)
        return (right, 1.0, 0.0, 0.0) if version == "factual" else (0.0, 0.0, right, 1.0)

    def figure(self, sums: Sequence[float]) -> float:
        """The gap of the sums of what rows gave; not a number where one version is missing."""
        right, rows, right_against, rows_against = sums
        return right / rows - right_against / rows_against if rows and rows_against else math.nan


@dataclass(frozen=True)
class prior_answer:
    """1 if the answer is the row's `prior_answer`, what a model would say without the passages, else 0.

    Applies where there is one and it is no gold: on a factual row both are the same, and nobody can tell where the answer
    came from.
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        prior = _prior(sample)
        return bool(prior) and not any(same_answer(prior, gold) for gold in golds_of(sample))

    def __call__(self, sample: Sample) -> float | None:
        return float(same_answer(final_answer(sample, self.strict), _prior(sample))) if self.applies(sample) else None


def version_of(sample: Sample) -> str:
    """The version of a row, empty where it is no half of a pair; raises `RowError` for any other word."""
    version = sample.columns.get("version") or ""
    if version and version not in VERSIONS:
        raise RowError(
            f"row {sample.id or '?'}: version is {version!r}, but must be 'factual' or 'counterfactual', else the row counts "
            f"on neither side. {nearest(str(version), VERSIONS)}"
        )
    return str(version)


def _prior(sample: Sample) -> str:
    return str(sample.columns.get("prior_answer") or "")
