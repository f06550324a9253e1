"""From scored examples to figures: means with their counts and intervals, differences of two models, spread over seeds.

An example is one line of `examples.jsonl`: `suite`, `subset`, `id`, `context`, `values` {metric: number, numbers or null} and,
where rows belong together, `pair`. Knows how figures of rows, subsets and suites come about; refuses to know how an answer
was scored and how a table looks.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from rlkit.errors import DataError
from rlkit.evaluation.intervals import RESAMPLES, Floats, interval, mean_draws, sum_draws
from rlkit.evaluation.metrics import METRICS

OVERALL = "overall"
Overall = Literal["example", "macro"]
_PAIR = "pair\0"
Example = Mapping[str, Any]
Groups = Mapping[str, Sequence[str]]


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


class _Key(NamedTuple):
    suite: str
    subset: str
    context: str
    metric: str


class _Column(NamedTuple):
    """What rows gave for one key, in the order of their ids: `values` is (rows, models, numbers a row).

    `units` names what is resampled together. `left_out` counts rows that do not count, by model.
    """

    ids: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    left_out: tuple[int, ...]


class _Result(NamedTuple):
    """The figures of the models in one cell, and the resampled ones: of the one model, or of the second minus the first."""

    key: _Key
    figures: tuple[float, ...]
    draws: Floats
    n: int
    left_out: tuple[int, ...]


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
    columns = _columns(examples)
    cells = []
    for result in _results(columns, overall, groups or {}, metrics, seed, resamples):
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
    ours, theirs = _columns(a), _columns(b)
    pairs = {key: _pair(ours[key], theirs[key]) for key in ours if key in theirs}
    if not any(column.ids for column in pairs.values()):
        raise DataError(
            "the two have no example in common (same suite, subset, context and id), so there is nothing to compare; score "
            "both on the same suites and contexts."
        )
    differences = []
    for result in _results(pairs, overall, groups or {}, metrics, seed, resamples):
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
    by_key = [{_Key(c.suite, c.subset, c.context, c.metric): c for c in cells} for cells in runs]
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


def _columns(examples: Iterable[Example]) -> dict[_Key, _Column]:
    rows: dict[_Key, dict[str, tuple[str, tuple[float, ...] | None]]] = {}
    for example in examples:
        row_id = str(example["id"])
        place = (str(example["suite"]), str(example.get("subset") or ""), str(example.get("context") or ""))
        # Rows of a pair may stand in two subsets, so a pair keeps its name where subsets are joined.
        unit = f"{_PAIR}{example['pair']}" if example.get("pair") else row_id
        for metric, value in example["values"].items():
            column = rows.setdefault(_Key(*place, metric), {})
            if row_id in column:
                raise DataError(
                    f"{' '.join(filter(None, place))}: row {row_id} is there twice, so these are several runs in one; "
                    "summarise each run alone, and give several to `spread`."
                )
            column[row_id] = (unit, _numbers(value, metric, row_id))
    return {key: _column(column) for key, column in rows.items()}


def _numbers(value: Any, metric: str, row_id: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),)
    if not all(map(math.isfinite, numbers)):
        raise DataError(
            f"row {row_id}: {metric} is {value!r:.60}, but must be a finite number or null; score it again."
        )
    return numbers


def _column(rows: Mapping[str, tuple[str, tuple[float, ...] | None]]) -> _Column:
    kept = [(row_id, unit, numbers) for row_id, (unit, numbers) in sorted(rows.items()) if numbers is not None]
    ids, units = tuple(row[0] for row in kept), tuple(row[1] for row in kept)
    values = np.array([row[2] for row in kept], dtype=np.float64).reshape(len(kept), 1, -1 if kept else 1)
    return _Column(ids, units, values, (len(rows) - len(kept),))


def _pair(one: _Column, other: _Column) -> _Column:
    shared = frozenset(one.ids) & frozenset(other.ids)
    rows = [[i for i, row_id in enumerate(column.ids) if row_id in shared] for column in (one, other)]
    values = np.concatenate([one.values[rows[0]], other.values[rows[1]]], axis=1)
    ids, units = tuple(one.ids[i] for i in rows[0]), tuple(one.units[i] for i in rows[0])
    return _Column(ids, units, values, (len(one.ids) - len(shared), len(other.ids) - len(shared)))


def _results(
    columns: Mapping[_Key, _Column],
    overall: Overall,
    groups: Groups,
    metrics: Mapping[str, Any],
    seed: int,
    resamples: int,
) -> Iterator[_Result]:
    """Every subset by itself, then the groups, then all of a suite; by suite and context."""
    single = {key: _result(key, column, metrics, seed, resamples) for key, column in columns.items()}
    for suite, context in dict.fromkeys((key.suite, key.context) for key in columns):
        own = [key for key in columns if (key.suite, key.context) == (suite, context)]
        subsets = list(dict.fromkeys(key.subset for key in own))
        names = list(dict.fromkeys(key.metric for key in own))
        yield from (single[key] for key in own)
        wholes = {**groups, OVERALL: subsets} if len(subsets) > 1 else {}
        for whole, members in wholes.items():
            for metric in names:
                parts = [key for member in members if (key := _Key(suite, member, context, metric)) in columns]
                if not parts:
                    continue
                key = _Key(suite, whole, context, metric)
                if whole == OVERALL and overall == "macro":
                    yield _macro(key, [single[part] for part in parts])
                else:
                    yield _result(key, _join([columns[part] for part in sorted(parts)]), metrics, seed, resamples)


def _result(key: _Key, column: _Column, metrics: Mapping[str, Any], seed: int, resamples: int) -> _Result:
    rows, models, size = column.values.shape
    if not rows:
        return _Result(key, (), np.empty(0), 0, column.left_out)
    figure = getattr(metrics.get(key.metric), "figure", None)
    if size > 1 and figure is None:
        raise DataError(f"{key.suite}: {key.metric} has {size} numbers a row, but is no metric whose rows add up.")
    # Every cell has its own stream: figures of subsets must vary apart, and a further metric must change no other.
    stream = [seed, zlib.crc32("\0".join(key).encode())]

    def of(sums: Floats, count: float) -> float:
        return float(figure(sums) if figure else sums[0] / count)

    figures = tuple(of(column.values[:, model].sum(axis=0), rows) for model in range(models))
    if not all(map(math.isfinite, figures)):  # a gap between versions, of rows of one version
        return _Result(key, (), np.empty(0), 0, tuple(count + rows for count in column.left_out))
    if figure is None and len(set(column.units)) == rows:
        first, last = column.values[:, 0, 0], column.values[:, -1, 0]
        return _Result(
            key, figures, mean_draws(last - first if models > 1 else last, stream, resamples), rows, column.left_out
        )
    sums = sum_draws(_by_unit(column), stream, resamples).reshape(resamples, models * size + 1)
    drawn = [[of(line[m * size : (m + 1) * size], line[-1]) for m in range(models)] for line in sums]
    return _Result(
        key, figures, np.array([line[-1] - (line[0] if models > 1 else 0.0) for line in drawn]), rows, column.left_out
    )


def _by_unit(column: _Column) -> Floats:
    """The sums of what the rows of a unit gave, and their count, one line a unit in the order of their names."""
    numbers = np.column_stack([column.values.reshape(len(column.ids), -1), np.ones(len(column.ids))])
    names, place = np.unique(np.array(column.units), return_inverse=True)
    sums = np.zeros((len(names), numbers.shape[1]))
    np.add.at(sums, place, numbers)
    return sums


def _join(columns: Sequence[_Column]) -> _Column:
    """The rows of several subsets as one column; ids may repeat from one subset to another."""
    filled = [column for column in columns if column.ids] or columns[:1]
    ids = tuple(f"{i}/{row_id}" for i, column in enumerate(filled) for row_id in column.ids)
    units = tuple(
        unit if unit.startswith(_PAIR) else f"{i}/{unit}" for i, column in enumerate(filled) for unit in column.units
    )
    left_out = tuple(map(sum, zip(*(column.left_out for column in columns), strict=True)))
    return _Column(ids, units, np.concatenate([column.values for column in filled]), left_out)


def _macro(key: _Key, parts: Sequence[_Result]) -> _Result:
    """The mean of the subsets' figures; each is resampled by itself, at the size that it has."""
    left_out = tuple(map(sum, zip(*(part.left_out for part in parts), strict=True)))
    filled = [part for part in parts if part.n]
    if not filled:
        return _Result(key, (), np.empty(0), 0, left_out)
    figures = tuple(map(statistics.fmean, zip(*(part.figures for part in filled), strict=True)))
    draws = np.mean([part.draws for part in filled], axis=0)
    return _Result(key, figures, draws, sum(part.n for part in filled), left_out)
