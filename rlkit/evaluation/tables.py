"""Tables of figures; every row says whether it was measured or published.

Knows how numbers are printed: this is the one place where a value in [0, 1] becomes what the papers print. Refuses to know
how a figure came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rlkit.evaluation.metrics import unit_of
from rlkit.evaluation.printing import Table, markdown, text
from rlkit.evaluation.published import Column, PublishedTable
from rlkit.evaluation.summary import OVERALL, Cell, Difference, Spread

__all__ = [
    "Table",
    "cells_table",
    "differences_table",
    "headline_table",
    "headline_title",
    "markdown",
    "spreads_table",
    "text",
]

MEASURED, PUBLISHED = "measured", "published"
FEW_ROWS = (
    30  # of answers right in 9 of 10 cases, the intervals of 20 rows hold the truth in 88 of 100, of 6 rows in 46
)
MAX_COLUMNS = 7  # a wider table lists its columns downwards and its models across


Run = Sequence[Cell] | Sequence[Spread]


def headline_table(title: str, runs: Mapping[str, Run], metric: str, published: PublishedTable | None = None) -> Table:
    """What each model got beside what was published: one column for each subset, in one metric.

    `runs` holds, by the model's name, the cells of one run or the spreads of several. With `published`, its columns and
    their metrics decide; otherwise the subsets that were measured. A model that was measured with several context policies
    has a row for each. A published row never gets an interval, a measured one always has its count.
    """
    columns = published.columns if published else _measured_columns(runs, metric)
    rows_printed = published.rows if published else ()
    printed = {one.subset for i, one in enumerate(columns) if any(row.figures[i] is not None for row in rows_printed)}
    lines: list[tuple[str, str, list[dict[str, Any] | None]]] = []
    for name, run in runs.items():
        contexts = list(dict.fromkeys(one.context for one in run))
        for context in contexts:
            label = f"{name} ({context})" if len(contexts) > 1 else name
            own = [one for one in run if one.context == context]
            lines.append((label, MEASURED, [_figure(own, column, columns, printed) for column in columns]))
    for row in rows_printed:
        figures_printed = [None if value is None else {"value": value} for value in row.figures]
        lines.append((row.label, PUBLISHED, list(figures_printed)))
    counts = [_shared_count(figures) for figures in zip(*(figures for _, _, figures in lines), strict=True)]
    titles = map(_title, columns, counts)
    rows = [("model", "source", *titles)]
    for label, source, figures in lines:
        rows.append((label, source, *map(_text, figures, columns, (n is None for n in counts))))
    across = len(rows[0]) > MAX_COLUMNS
    header, *body = zip(*rows, strict=True) if across else rows
    data = {
        "title": title,
        "columns": [{**asdict(column), "scale": unit_of(column.metric).scale} for column in columns],
        "rows": [{"label": label, "source": source, "figures": figures} for label, source, figures in lines],
        **({"published": {"source": published.source, "note": published.note}} if published else {}),
    }
    return Table(title, header, tuple(body), 1 if across else 2, tuple(_notes(lines, columns, published)), data)


def headline_title(suite: str, metric: str, published: PublishedTable | None = None) -> str:
    """A suite's title with the metric of its headline; without it where the columns name their own.

    >>> headline_title("Synthetic world", "em")
    'Synthetic world: EM'
    """
    metrics = {column.metric for column in published.columns} if published else {metric}
    return f"{suite}: {unit_of(metrics.pop()).title}" if len(metrics) == 1 else suite


def cells_table(title: str, cells: Iterable[Cell]) -> Table:
    """Every figure of one run: its interval, its rows, and the rows that the metric does not apply to."""
    header = ("subset", "context", "metric", "figure", "95 % interval", "rows", "not applicable")
    return _listing(
        title,
        header,
        cells,
        lambda one: (_number(one.mean, one.metric), _bounds(one), f"{one.n:,}", f"{one.none:,}"),
    )


def differences_table(title: str, differences: Iterable[Difference], a: str = "a", b: str = "b") -> Table:
    """Two models on the same rows: both figures, the second minus the first, and the interval of the paired bootstrap.

    An asterisk marks a difference whose interval does not hold 0.
    """
    rows = list(differences)
    header = (
        "subset",
        "context",
        "metric",
        a,
        b,
        f"{b} - {a}",
        "95 % interval",
        "rows in both",
        f"only {a}",
        f"only {b}",
    )

    def figures(one: Difference) -> tuple[str, ...]:
        sure = one.low is not None and one.high is not None and not one.low <= 0 <= one.high
        difference = _number(one.difference, one.metric, "+") + (" *" if sure else "")
        pair = (_number(one.a, one.metric), _number(one.b, one.metric))
        return *pair, difference, _bounds(one, "+"), f"{one.n:,}", f"{one.only_a:,}", f"{one.only_b:,}"

    return _listing(title, header, rows, figures, ("* the interval of the paired bootstrap does not hold 0",))


def spreads_table(title: str, spreads: Iterable[Spread]) -> Table:
    """Several runs of one evaluation: mean, standard deviation, least and greatest of the runs' figures."""
    header = ("subset", "context", "metric", "mean of runs", "sd", "least", "greatest", "runs", "rows a run")

    def figures(one: Spread) -> tuple[str, ...]:
        numbers = (one.mean, one.sd, one.least, one.greatest)
        return *(_number(value, one.metric) for value in numbers), str(one.runs), f"{one.n:,}"

    return _listing(title, header, spreads, figures)


def _listing(
    title: str,
    header: tuple[str, ...],
    rows: Iterable[Any],
    figures: Callable[[Any], tuple[str, ...]],
    notes: tuple[str, ...] = (),
) -> Table:
    """One line for each subset, context and metric; all of it measured."""
    rows = list(rows)
    body = [(one.subset, one.context, unit_of(one.metric).title, *figures(one)) for one in rows]
    data = {"title": title, "source": MEASURED, "rows": [asdict(one) for one in rows]}
    return Table(title, header, tuple(body), 3, notes, data)


def _measured_columns(runs: Mapping[str, Run], metric: str) -> tuple[Column, ...]:
    unit = unit_of(metric)
    subsets = dict.fromkeys(one.subset for run in runs.values() for one in run if one.metric == metric)
    return tuple(Column(subset, metric, subset or unit.title, unit.digits) for subset in subsets)


def _figure(
    run: Sequence[Cell | Spread], column: Column, columns: Sequence[Column], printed: set[str]
) -> dict[str, Any] | None:
    """A measured figure as printed, with its count; `None` where there is none.

    A figure of all needs every part that was `printed` beside it: the mean of fewer parts would stand in a wrong place.
    """
    own = [one for one in run if one.metric == column.metric and one.mean is not None]
    found = [one for one in own if one.subset == column.subset]
    if column.subset == OVERALL:
        if not printed <= {OVERALL, *(one.subset for one in own)}:
            return None
        alone = len(own) == 1 and own[0].subset not in {other.subset for other in columns}
        if not found and alone:  # a suite of one part has no figure of all besides
            found = own
    if not found:
        return None
    one = found[0]
    scale = unit_of(one.metric).scale
    names = ("low", "high") if isinstance(one, Cell) else ("sd", "least", "greatest")
    bounds = {name: None if (value := getattr(one, name)) is None else value * scale for name in names}
    runs = {} if isinstance(one, Cell) else {"runs": one.runs}
    return {"value": (one.mean or 0.0) * scale, **bounds, **runs, "n": one.n}


def _shared_count(figures: Iterable[Mapping[str, Any] | None]) -> int | None:
    """The count of rows of all measured figures of a column, if it is one."""
    counts = {figure["n"] for figure in figures if figure and "n" in figure}
    return counts.pop() if len(counts) == 1 else None


def _title(column: Column, count: int | None) -> str:
    if count is None:
        return column.title
    return f"{column.title} ({'measured ' if column.n not in (None, count) else ''}n={count:,})"


def _text(figure: Mapping[str, Any] | None, column: Column, with_count: bool) -> str:
    if figure is None:
        return "-"
    count = f" (n={figure['n']:,})" if with_count and "n" in figure else ""

    def written(name: str) -> str:
        return f"{figure[name]:.{column.digits}f}"

    if "runs" in figure:
        sd = "" if figure["sd"] is None else f" ± {written('sd')}"
        return f"{written('value')}{sd}{count}\n{written('least')} to {written('greatest')}, {figure['runs']} runs"
    if "n" not in figure:
        return written("value")
    bounds = "" if figure["low"] is None else f"\n[{written('low')}, {written('high')}]"
    return f"{written('value')}{count}{bounds}"


def _notes(
    lines: Iterable[tuple[str, str, Sequence[Mapping[str, Any] | None]]],
    columns: Sequence[Column],
    published: PublishedTable | None,
) -> list[str]:
    measured = [figures for _, source, figures in lines if source == MEASURED]
    notes = []
    if measured:
        several = any(figure and "runs" in figure for figures in measured for figure in figures)
        interval = "mean of runs ± standard deviation, least to greatest" if several else "[95 % bootstrap interval]"
        notes.append(f"measured: by this evaluation, with the count of rows (n) and {interval}.")
        if not several and any(figure and figure["n"] < FEW_ROWS for figures in measured for figure in figures):
            notes.append(
                f"With fewer than {FEW_ROWS} rows a bootstrap interval is too narrow: it knows only outcomes that came."
            )
    if published:
        notes.append(f"published: as printed in {published.source}; no interval is printed. {published.note}".strip())
        other = [
            f"{column.title} {column.n:,}"
            for i, column in enumerate(columns)
            if column.n and any((figure := figures[i]) and figure["n"] != column.n for figures in measured)
        ]
        if other:
            notes.append(
                f"Not the same test set: the published figures are of other counts of rows ({', '.join(other)})."
            )
    return notes


def _number(value: float | None, metric: str, sign: str = "") -> str:
    unit = unit_of(metric)
    return "-" if value is None else f"{value * unit.scale:{sign}.{unit.digits}f}"


def _bounds(one: Cell | Difference, sign: str = "") -> str:
    if one.low is None or one.high is None:
        return "-"
    return f"[{_number(one.low, one.metric, sign)}, {_number(one.high, one.metric, sign)}]"
