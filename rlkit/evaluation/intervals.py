"""Bootstrap intervals: how far a figure may be off because the test set is a sample.

Knows arrays of numbers, one row for each resampled unit; refuses to know metrics, suites and models. The units are resampled
with replacement, as many as there are, and the interval holds the middle 95 % of the figures so drawn (percentile bootstrap;
Efron and Tibshirani 1993, chapter 13).

Time grows with the resamples times the smaller of the count of numbers and ten times the count of distinct ones. Measured on
one core, for 10,000 resamples: 0.01 s for 200 numbers, 0.1 s for 2,000, 0.4 s for 100,000, nothing for answers that are
right or wrong; 0.3 s for rows of counts, however many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
BOUNDS = (0.025, 0.975)  # quantiles: the middle 95 %
MAX_LEVELS = 512  # distinct values that are drawn apart; more are drawn as the means of as many slices of their range
MAX_UNITS = 2_000  # rows of counts that are drawn apart; more are drawn as the sums of as many random groups
CHUNK_DRAWS = 1 << 21  # numbers drawn at a time: 16 MB
_MULTINOMIAL_COST = 10  # of one count, in draws of one index

Floats = NDArray[np.float64]


def mean_draws(values: Sequence[float] | Floats, seed: Sequence[int], resamples: int = RESAMPLES) -> Floats:
    """The means of so many resamples of some numbers, whatever their order.

    >>> mean_draws([1.0, 1.0], seed=[0], resamples=3)
    array([1., 1., 1.])
    """
    rng = np.random.default_rng(list(seed))
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    levels, counts = _levels(ordered)
    if _MULTINOMIAL_COST * len(levels) < len(ordered):
        drawn = rng.multinomial(len(ordered), counts / len(ordered), size=resamples)
        return drawn @ levels / len(ordered)
    return _in_chunks(lambda rows: ordered[_indices(rng, rows, len(ordered))].mean(axis=1), len(ordered), resamples)


def sum_draws(rows: Floats, seed: Sequence[int], resamples: int = RESAMPLES) -> Floats:
    """The column sums of so many resamples of rows, one line each; the order of the rows matters.

    More than 2,000 rows are added up in random groups, which are resampled in their place: sums vary as much, and the
    interval is as wide to about 2 %.

    >>> sum_draws(np.array([[1.0, 2.0], [1.0, 2.0]]), seed=[0], resamples=2)
    array([[2., 4.],
           [2., 4.]])
    """
    rng = np.random.default_rng(list(seed))
    if len(rows) > MAX_UNITS:
        starts = np.linspace(0, len(rows), MAX_UNITS, endpoint=False).astype(np.int64)
        rows = np.add.reduceat(rows[rng.permutation(len(rows))], starts)
    count = len(rows)

    def draw(lines: int) -> Floats:
        picked = _indices(rng, lines, count) + count * np.arange(lines)[:, None]
        times = np.bincount(picked.ravel(), minlength=lines * count).reshape(lines, count)
        return times.astype(np.float64) @ rows

    return _in_chunks(draw, count, resamples)


def interval(draws: Floats) -> tuple[float, float]:
    """The bounds between which the middle 95 % of the draws lie; draws that are no number are left out.

    >>> interval(np.arange(201.0))
    (5.0, 195.0)
    """
    low, high = np.nanquantile(draws, BOUNDS)
    return float(low), float(high)


def _levels(ordered: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct values and how often each stands there; more than `MAX_LEVELS` are put together with their neighbours.

    A slice is as wide as 1/512 of the range, so that the spread it hides changes an interval by less than a thousandth.
    """
    levels, counts = np.unique(ordered, return_counts=True)
    if len(levels) <= MAX_LEVELS:
        return levels, counts
    edges = np.linspace(ordered[0], ordered[-1], MAX_LEVELS + 1)
    slices = np.searchsorted(edges[1:-1], ordered, side="right")
    counts = np.bincount(slices, minlength=MAX_LEVELS)
    sums = np.bincount(slices, weights=ordered, minlength=MAX_LEVELS)
    return sums[counts > 0] / counts[counts > 0], counts[counts > 0]


def _indices(rng: np.random.Generator, lines: int, count: int) -> NDArray[np.int64]:
    return rng.integers(count, size=(lines, count), dtype=np.int64)


def _in_chunks(draw: Callable[[int], Floats], count: int, resamples: int) -> Floats:
    """Draws of all resamples, so many at a time that memory stays bounded."""
    size = max(1, CHUNK_DRAWS // count)
    return np.concatenate([draw(min(size, resamples - start)) for start in range(0, resamples, size)])
