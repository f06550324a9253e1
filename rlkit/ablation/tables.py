"""An ablation's tables: means, differences, and what went wrong; as text and as Markdown through the evaluation's tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from rlkit.ablation.results import Figure, Results
from rlkit.ablation.summary import effects, losses, means, missing, reward_shares, seconds
from rlkit.evaluation.tables import Table


def tables(results: Results, metrics: Collection[str]) -> list[Table]:
    """Means and differences in the named metrics, and what failed; every other figure stands in `results.json`."""
    found, failed = mean_table(results, metrics), failure_table(results, metrics)
    if not failed.body:
        found = replace(
            found,
            notes=(
                *found.notes,
                "no run failed, broke down, or ended below its start by 0.1 or more in a figure shown here",
            ),
        )
    return [found, effect_table(results, metrics), *([failed] if failed.body else [])]


def mean_table(results: Results, metrics: Collection[str]) -> Table:
    """A row for each variant, a column for each figure: mean over seeds, and the standard deviation behind ±."""
    found = [one for one in means(results) if one.figure.metric in metrics]
    columns, named = list(dict.fromkeys(one.figure for one in found)), labels(results)
    cells = {(one.variant, one.figure): one for one in found}
    took, shares = seconds(results), reward_shares(results)
    body = []
    for variant in dict.fromkeys(one.variant for one in found):
        row = [cells.get((variant, column)) for column in columns]
        runs = sorted({len(one.by_seed) for one in row if one})
        texts = [
            "-" if one is None else f"{one.mean:.3f}" + ("" if one.sd is None else f" ±{one.sd:.3f}") for one in row
        ]
        costs = (
            f"{took[variant]:.0f}" if variant in took else "-",
            f"{shares[variant]:.1%}" if variant in shares else "-",
        )
        body.append((variant, " to ".join(map(str, dict.fromkeys((runs[0], runs[-1])))), *texts, *costs))
    seeds = ", ".join(map(str, results.seeds))
    counts = sorted({run.counts[column] for run in results.runs for column in columns if column in run.counts})
    notes = [
        f"mean ± standard deviation over seeds {seeds}; last model of each run, no choosing",
        f"questions behind a seed's figure: {' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))}",
    ]
    if len(results.versions) > 1:
        told = dict.fromkeys(name for one in results.versions for name in one)
        other = [name for name in told if len({str(one.get(name)) for one in results.versions}) > 1]
        notes.append(
            f"made with {len(results.versions)} sets of versions, which differ in {', '.join(other)}; see results.json"
        )
    lacking = missing(results)
    for seed in dict.fromkeys(seed for _, seed in lacking):
        notes.append(f"not measured, seed {seed}: {', '.join(name for name, other in lacking if other == seed)}")
    return _table(results.title, ("variant", "seeds", *map(named, columns), "seconds", "in rewards"), body, 1, notes)


def effect_table(results: Results, metrics: Collection[str]) -> Table:
    """A row for each difference and figure; an asterisk marks an interval that excludes zero."""
    named = labels(results)
    body = [
        (
            one.name,
            f"{one.variant} - {one.against}",
            named(one.figure),
            f"{one.difference:+.3f}" + (" *" if one.claimed else ""),
            "-" if one.low is None or one.high is None else f"{one.low:+.3f} to {one.high:+.3f}",
            str(len(one.by_seed)),
        )
        for one in effects(results)
        if one.figure.metric in metrics
    ]
    notes = [
        "* the 95 % interval (paired t over seeds) excludes zero; without it no effect was found",
        f"{len(body)} comparisons: where nothing has an effect, about one in twenty is marked all the same",
    ]
    lacking = [name for name in results.differences if name not in {row[0] for row in body}]
    if lacking:
        notes.append(f"not measured: {', '.join(lacking)}")
    header = ("question", "difference", "figure", "mean", "95 % interval", "seeds")
    return _table(f"{results.title}: differences", header, body, 3, notes)


def failure_table(results: Results, metrics: Collection[str]) -> Table:
    """A row for each run that failed, broke down, or ended below the model that it started from by 0.1 or more."""
    body, named = [], labels(results)
    fallen = [loss for loss in losses(results) if loss.figure.metric in metrics]
    for run in results.runs:
        told = [f"{named(f.figure)} {f.before:.3f} to {f.after:.3f}" for f in fallen if (f.variant, f.seed) == (run.stage, run.seed)]  # fmt: skip
        words = [*run.failures, *(["ended below its start: " + ", ".join(told)] if told else [])]
        if words:
            body.append((run.stage, str(run.seed), "; ".join(words)))
    notes = ["every run with figures counts in every mean, these as well"]
    return _table(f"{results.title}: what failed", ("variant", "seed", "what"), body, 3, notes)


def labels(results: Results) -> Callable[[Figure], str]:
    """What figures are called in a table: part of the suite and metric, and the suite where there are several."""
    several = len({figure.suite for run in results.runs for figure in run.figures}) > 1

    def label(figure: Figure) -> str:
        parts = [figure.suite] if several or not figure.subset else []
        parts += [part for part in (figure.subset, figure.metric) if part]
        return " ".join(parts) if figure.context == "full" else f"{' '.join(parts)} ({figure.context})"

    return label


def _table(
    title: str, header: Sequence[str], body: Sequence[Sequence[str]], names: int, notes: Sequence[str] = ()
) -> Table:
    data = {"title": title, "header": list(header), "rows": [list(row) for row in body]}
    return Table(title, tuple(header), tuple(tuple(row) for row in body), names, tuple(notes), data)
