"""From scored examples to figures: means with their counts and intervals, differences of two models, spread over seeds.

An example is one line of `examples.jsonl`: `suite`, `subset`, `id`, `context`, `values` {metric: number, numbers or null} and,
where rows belong together, `pair`. Knows what is told of a figure; `rollup` knows how it comes about.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlkit.errors import DataError
from rlkit.evaluation.intervals import RESAMPLES, interval
from rlkit.evaluation.metrics import METRICS
from rlkit.evaluation.rollup import OVERALL, Example, Groups, Key, Overall, columns_of, pair, results

__all__ = ["OVERALL", "Cell", "Difference", "Overall", "Spread", "compare", "spread", "summarise"]


@dataclass(frozen=True)
class Cell:
    """One figure: `mean` of `metric` over `n` rows, its 95 % interval, and `none`, the rows that it does not apply to.

    `subset` is a part of the suite, a group of parts, or "overall"; there `n` counts all rows, however they are weighted.
    No interval where the rows show no spread: of one row, or of rows that are all right, resampling says nothing.
    """

    suite: str
    subset: str
    context: str
    metric: str
    mean: float | None
    n: int
    none: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """Figure `b` minus figure `a` of two models on the `n` rows that both have, with its 95 % paired bootstrap interval.

    `only_a` and `only_b` count the rows that the other one lacks.
    """

    suite: str
    subset: str
    context: str
    metric: str
    a: float
    b: float
    difference: float
    n: int
    only_a: int
    only_b: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Spread:
    """One figure over several runs (seeds): mean, sample standard deviation, least and greatest of the runs' figures.

    `n` is the count of rows in a run, the least if they differ; `sd` needs two runs.
    """

    suite: str
    subset: str
    context: str
    metric: str
    mean: float
    sd: float | None
    least: float
    greatest: float
    runs: int
    n: int


def summarise(
    examples: Iterable[Example],
    *,
    overall: Overall = "example",
    groups: Groups | None = None,
    metrics: Mapping[str, Any] = METRICS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Cell]:
    """One `Cell` for each suite, subset, context and metric; the same for any order of the rows.

    A suite of several subsets also gets "overall": the mean of all rows ("example"), or of the subsets' figures ("macro");
    and one cell for each of `groups` {name: subsets}, a mean of all its rows. Raises `DataError` when a row is there twice,
    as in the examples of two runs: summarise each run alone, and use `spread`.

    >>> rows = [{"suite": "s", "subset": "", "id": str(i), "context": "full", "values": {"em": i % 2}} for i in range(100)]
    >>> cell, = summarise(rows)
    >>> cell.mean, cell.n, cell.low, cell.high
    (0.5, 100, 0.4, 0.6)
    """
    columns = columns_of(examples)
    cells = []
    for result in results(columns, overall, groups or {}, metrics, seed, resamples):
        low, high = interval(result.draws) if result.n else (None, None)
        if low == high:
            low = high = None
        mean = result.figures[0] if result.n else None
        cells.append(Cell(*result.key, mean, result.n, result.left_out[0], low, high))
    return cells


def compare(
    a: Iterable[Example],
    b: Iterable[Example],
    *,
    overall: Overall = "example",
    groups: Groups | None = None,
    metrics: Mapping[str, Any] = METRICS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Model `b` minus model `a`, by paired bootstrap: every resample holds the same rows of both, so that hard rows cancel.

    Only rows that both have, and to which the metric applies in both, count. Overall and groups as in `summarise`. Raises
    `DataError` when the two have no row in common.

    >>> rows = [{"suite": "s", "subset": "", "id": str(i), "context": "full", "values": {"em": i % 2}} for i in range(9)]
    >>> same, = compare(rows, rows)
    >>> same.difference, same.low, same.high, same.n
    (0.0, 0.0, 0.0, 9)
    """
    ours, theirs = columns_of(a), columns_of(b)
    pairs = {key: pair(ours[key], theirs[key]) for key in ours if key in theirs}
    if not any(column.ids for column in pairs.values()):
        raise DataError(
            "the two have no example in common (same suite, subset, context and id), so there is nothing to compare; score "
            "both on the same suites and contexts."
        )
    differences = []
    for result in results(pairs, overall, groups or {}, metrics, seed, resamples):
        if not result.n:
            continue
        low, high = interval(result.draws) if result.n > 1 else (None, None)
        one, other = result.figures
        only_a, only_b = result.left_out
        differences.append(Difference(*result.key, one, other, other - one, result.n, only_a, only_b, low, high))
    return differences


def spread(runs: Sequence[Sequence[Cell]]) -> list[Spread]:
    """What several runs of one evaluation say together, without mixing their rows: a cell of each run is one number.

    Raises `DataError` for a figure that not every run has, because a mean over other runs would not compare.

    >>> cells = [[Cell("s", "", "full", "em", mean, 100, 0, None, None)] for mean in (0.25, 0.75)]
    >>> both, = spread(cells)
    >>> both.mean, round(both.sd, 4), both.least, both.greatest, both.runs
    (0.5, 0.3536, 0.25, 0.75, 2)
    """
    by_key = [{Key(c.suite, c.subset, c.context, c.metric): c for c in cells} for cells in runs]
    found = []
    for key in dict.fromkeys(key for cells in by_key for key in cells):
        lacking = [number for number, cells in enumerate(by_key, 1) if key not in cells]
        if lacking:
            raise DataError(
                f"run {lacking[0]} of {len(runs)} has no {key.metric} of {key.suite} {key.subset} ({key.context}), so the "
                "runs' mean would be one of other runs; evaluate all runs on the same suites, contexts and metrics."
            )
        cells = [cells[key] for cells in by_key]
        means = [cell.mean for cell in cells if cell.mean is not None]
        if len(means) == len(cells):
            sd = statistics.stdev(means) if len(means) > 1 else None
            n = min(cell.n for cell in cells)
            found.append(Spread(*key, statistics.fmean(means), sd, min(means), max(means), len(runs), n))
    return found
