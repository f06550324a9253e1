"""An ablation's tables: one of means, one of differences; as text and as Markdown through the evaluation's tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rlkit.ablation.settings import Ablation
from rlkit.ablation.summary import Effect, Figure, Measured, effects, losses, means, missing, seconds
from rlkit.evaluation.tables import Table


def tables(ablation: Ablation, values: Measured, metrics: Collection[str]) -> list[Table]:
    """Means and differences in the named metrics, and what failed; every other figure stands in `results.json`."""
    made = [mean_table(ablation, values, metrics), effect_table(ablation, effects(ablation, values), metrics)]
    fallen = [loss for loss in losses(ablation, values) if loss.figure.metric in metrics]
    if fallen:
        body = [
            (one.variant, str(one.seed), _label(one.figure), _number(one.before), _number(one.after)) for one in fallen
        ]
        header = ("variant", "seed", "figure", "before", "after")
        made.append(_table("Ended below the model they started from (by 0.1 or more)", header, body, 3))
    return made


def mean_table(ablation: Ablation, values: Measured, metrics: Collection[str]) -> Table:
    """A row for each variant, a column for each figure: mean over seeds, and the standard deviation behind ±."""
    found = [one for one in means(ablation, values) if one.figure.metric in metrics]
    columns = list(dict.fromkeys(one.figure for one in found))
    cells = {(one.variant, one.figure): one for one in found}
    took = seconds(ablation)
    body = []
    for variant in dict.fromkeys(one.variant for one in found):
        row = [cells.get((variant, column)) for column in columns]
        runs = max(len(one.by_seed) for one in row if one)
        texts = [
            "-" if one is None else _number(one.mean) + ("" if one.sd is None else f" ±{one.sd:.3f}") for one in row
        ]
        body.append((variant, str(runs), *texts, f"{took[variant]:.0f}" if variant in took else "-"))
    notes = [
        f"mean ± standard deviation over seeds {', '.join(map(str, ablation.seeds))}; last model of each run, no choosing"
    ]
    notes += [f"not measured: {name}, seed {seed}" for name, seed in missing(ablation, values)]
    return _table(ablation.title, ("variant", "seeds", *map(_label, columns), "seconds"), body, 1, notes)


def effect_table(ablation: Ablation, found: Sequence[Effect], metrics: Collection[str]) -> Table:
    """A row for each difference and figure; an asterisk marks an interval that excludes zero."""
    body = [
        (
            one.name,
            f"{one.variant} - {one.against}",
            _label(one.figure),
            f"{one.difference:+.3f}" + (" *" if one.claimed else ""),
            "-" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            str(len(one.by_seed)),
        )
        for one in found
        if one.figure.metric in metrics
    ]
    notes = [
        "* the 95 % interval (paired t over seeds) excludes zero; without it no effect was found",
        f"{len(body)} comparisons: where nothing has an effect, about one in twenty is marked all the same",
    ]
    header = ("question", "difference", "figure", "mean", "95 % interval", "seeds")
    return _table(f"{ablation.title}: differences", header, body, 3, notes)


def _table(
    title: str, header: Sequence[str], body: Sequence[Sequence[str]], names: int, notes: Sequence[str] = ()
) -> Table:
    data = {"title": title, "header": list(header), "rows": [list(row) for row in body]}
    return Table(title, tuple(header), tuple(tuple(row) for row in body), names, tuple(notes), data)


def _label(figure: Figure) -> str:
    parts = [figure.subset or figure.suite, figure.metric]
    return " ".join(parts) if figure.context == "full" else f"{' '.join(parts)} ({figure.context})"


def _number(value: float) -> str:
    return f"{value:.3f}"
