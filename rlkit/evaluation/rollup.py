"""From values of rows to figures of subsets, groups and suites, each with its resampled twins.

A figure is the mean of its rows, or what a metric's `figure` makes of their sums. Knows one model's rows, or two models' rows
side by side; refuses to know how an answer was scored and what becomes of a figure.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rlkit.errors import DataError
from rlkit.evaluation.intervals import Floats, mean_draws, sum_draws

OVERALL = "overall"
Overall = Literal["example", "macro"]
Groups = Mapping[str, Sequence[str]]
Example = Mapping[str, Any]
_PAIR = "pair\0"


class Key(NamedTuple):
    suite: str
    subset: str
    context: str
    metric: str


class Scores(NamedTuple):
    """What rows gave for one key, in the order of their ids: `values` is (rows, models, numbers a row).

    `units` names what is resampled together. `left_out` counts rows that do not count, by model.
    """

    ids: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    left_out: tuple[int, ...]


class Result(NamedTuple):
    """The figures of the models in one cell, and the resampled ones: of the one model, or of the second minus the first."""

    key: Key
    figures: tuple[float, ...]
    draws: Floats
    n: int
    left_out: tuple[int, ...]


def columns_of(examples: Iterable[Example]) -> dict[Key, Scores]:
    """What the examples give, by key, in an order of rows that does not depend on theirs.

    Raises `DataError` for a row that is there twice and for a value that is no number.
    """
    rows: dict[Key, dict[str, tuple[str, tuple[float, ...] | None]]] = {}
    for example in examples:
        row_id = str(example["id"])
        place = (str(example["suite"]), str(example.get("subset") or ""), str(example.get("context") or ""))
        # Rows of a pair may stand in two subsets, so a pair keeps its name where subsets are joined.
        unit = f"{_PAIR}{example['pair']}" if example.get("pair") else row_id
        for metric, value in example["values"].items():
            column = rows.setdefault(Key(*place, metric), {})
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


def _column(rows: Mapping[str, tuple[str, tuple[float, ...] | None]]) -> Scores:
    kept = [(row_id, unit, numbers) for row_id, (unit, numbers) in sorted(rows.items()) if numbers is not None]
    ids, units = tuple(row[0] for row in kept), tuple(row[1] for row in kept)
    values = np.array([row[2] for row in kept], dtype=np.float64).reshape(len(kept), 1, -1 if kept else 1)
    return Scores(ids, units, values, (len(rows) - len(kept),))


def pair(one: Scores, other: Scores) -> Scores:
    """Two models' rows side by side: those that both have, and the counts of those that only one has."""
    shared = frozenset(one.ids) & frozenset(other.ids)
    rows = [[i for i, row_id in enumerate(column.ids) if row_id in shared] for column in (one, other)]
    values = np.concatenate([one.values[rows[0]], other.values[rows[1]]], axis=1)
    ids, units = tuple(one.ids[i] for i in rows[0]), tuple(one.units[i] for i in rows[0])
    return Scores(ids, units, values, (len(one.ids) - len(shared), len(other.ids) - len(shared)))


def results(
    columns: Mapping[Key, Scores],
    overall: Overall,
    groups: Groups,
    metrics: Mapping[str, Any],
    seed: int,
    resamples: int,
) -> Iterator[Result]:
    """Every subset by itself, then the groups, then all of a suite; by suite and context.

    Raises `DataError` for rows of several numbers whose metric has no `figure`.
    """
    single = {key: _result(key, column, metrics, seed, resamples) for key, column in columns.items()}
    for suite, context in dict.fromkeys((key.suite, key.context) for key in columns):
        own = [key for key in columns if (key.suite, key.context) == (suite, context)]
        subsets = list(dict.fromkeys(key.subset for key in own))
        names = list(dict.fromkeys(key.metric for key in own))
        yield from (single[key] for key in own)
        wholes = {**groups, OVERALL: subsets} if len(subsets) > 1 else {}
        for whole, members in wholes.items():
            for metric in names:
                parts = [key for member in members if (key := Key(suite, member, context, metric)) in columns]
                if not parts:
                    continue
                key = Key(suite, whole, context, metric)
                if whole == OVERALL and overall == "macro":
                    yield _macro(key, [single[part] for part in parts])
                else:
                    yield _result(key, _join([columns[part] for part in sorted(parts)]), metrics, seed, resamples)


def _result(key: Key, column: Scores, metrics: Mapping[str, Any], seed: int, resamples: int) -> Result:
    rows, models, size = column.values.shape
    if not rows:
        return Result(key, (), np.empty(0), 0, column.left_out)
    figure = getattr(metrics.get(key.metric), "figure", None)
    if size > 1 and figure is None:
        raise DataError(f"{key.suite}: {key.metric} has {size} numbers a row, but is no metric whose rows add up.")
    # Every cell has its own stream: figures of subsets must vary apart, and a further metric must change no other.
    stream = [seed, zlib.crc32("\0".join(key).encode())]

    def of(sums: Floats, count: float) -> float:
        return float(figure(sums) if figure else sums[0] / count)

    figures = tuple(of(column.values[:, model].sum(axis=0), rows) for model in range(models))
    if not all(map(math.isfinite, figures)):  # a gap between versions, of rows of one version
        return Result(key, (), np.empty(0), 0, tuple(count + rows for count in column.left_out))
    if figure is None and len(set(column.units)) == rows:
        first, last = column.values[:, 0, 0], column.values[:, -1, 0]
        return Result(
            key, figures, mean_draws(last - first if models > 1 else last, stream, resamples), rows, column.left_out
        )
    sums = sum_draws(_by_unit(column), stream, resamples).reshape(resamples, models * size + 1)
    drawn = [[of(line[m * size : (m + 1) * size], line[-1]) for m in range(models)] for line in sums]
    return Result(
        key, figures, np.array([line[-1] - (line[0] if models > 1 else 0.0) for line in drawn]), rows, column.left_out
    )


def _by_unit(column: Scores) -> Floats:
    """The sums of what the rows of a unit gave, and their count, one line a unit in the order of their names."""
    numbers = np.column_stack([column.values.reshape(len(column.ids), -1), np.ones(len(column.ids))])
    names, place = np.unique(np.array(column.units), return_inverse=True)
    sums = np.zeros((len(names), numbers.shape[1]))
    np.add.at(sums, place, numbers)
    return sums


def _join(columns: Sequence[Scores]) -> Scores:
    """The rows of several subsets as one column; ids may repeat from one subset to another."""
    filled = [column for column in columns if column.ids] or columns[:1]
    ids = tuple(f"{i}/{row_id}" for i, column in enumerate(filled) for row_id in column.ids)
    units = tuple(
        unit if unit.startswith(_PAIR) else f"{i}/{unit}" for i, column in enumerate(filled) for unit in column.units
    )
    left_out = tuple(map(sum, zip(*(column.left_out for column in columns), strict=True)))
    return Scores(ids, units, np.concatenate([column.values for column in filled]), left_out)


def _macro(key: Key, parts: Sequence[Result]) -> Result:
    """The mean of the subsets' figures; each is resampled by itself, at the size that it has."""
    left_out = tuple(map(sum, zip(*(part.left_out for part in parts), strict=True)))
    filled = [part for part in parts if part.n]
    if not filled:
        return Result(key, (), np.empty(0), 0, left_out)
    figures = tuple(map(statistics.fmean, zip(*(part.figures for part in filled), strict=True)))
    draws = np.mean([part.draws for part in filled], axis=0)
    return Result(key, figures, draws, sum(part.n for part in filled), left_out)
