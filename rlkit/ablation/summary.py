"""What the seeds of every variant say together: means with their spread, and differences seed by seed with an interval.

A seed is one number here, whatever many questions are behind it: what varies from training to training is what decides
whether an effect is one. Knows results folders; knows nothing of training.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.ablation.jobs import evaluation_folder
from rlkit.ablation.settings import Ablation
from rlkit.errors import ConfigError

LEVEL = 0.95


class Figure(NamedTuple):
    """What was measured: a metric of a suite's subset, asked with a context policy."""

    suite: str
    subset: str
    context: str
    metric: str


@dataclass(frozen=True)
class Mean:
    """A variant's figure over its seeds: mean, sample standard deviation (None for one seed), and every seed's value."""

    variant: str
    figure: Figure
    mean: float
    sd: float | None
    by_seed: Mapping[int, float]


@dataclass(frozen=True)
class Effect:
    """Variant minus the one it is held against, seed by seed: mean difference and its 95 % t interval over the seeds.

    No interval for fewer than two seeds. The interval is of one comparison: of twenty without any effect, one will not
    hold 0.
    """

    name: str
    variant: str
    against: str
    figure: Figure
    difference: float
    low: float | None
    high: float | None
    by_seed: Mapping[int, float]

    @property
    def claimed(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


Measured = Mapping[tuple[str, int], Mapping[Figure, float]]  # (variant, seed) -> figures


def measured(ablation: Ablation) -> dict[tuple[str, int], dict[Figure, float]]:
    """The figures of every evaluation that is there; one that is not done has no entry."""
    from rlkit.evaluation.results import read

    found = {}
    for stage in ablation.stages.values():
        for seed in ablation.seeds:
            folder = evaluation_folder(ablation, seed, stage.name)
            if folder.with_name(f"{folder.name}.done.json").is_file():
                _, results = read(folder)
                cells = [cell for result in results.values() for cell in result.cells if cell.mean is not None]
                found[stage.name, seed] = {
                    Figure(c.suite, c.subset, c.context, c.metric): float(c.mean or 0) for c in cells
                }
    return found


def means(ablation: Ablation, values: Measured) -> list[Mean]:
    """Each variant's figures over the seeds that it was measured on."""
    made = []
    for variant in ablation.stages:
        for figure in _figures(values, [variant]):
            seeds = {
                seed: values[variant, seed][figure]
                for seed in ablation.seeds
                if figure in values.get((variant, seed), {})
            }
            sd = statistics.stdev(seeds.values()) if len(seeds) > 1 else None
            made.append(Mean(variant, figure, statistics.fmean(seeds.values()), sd, seeds))
    return made


def effects(ablation: Ablation, values: Measured) -> list[Effect]:
    """The differences that the ablation names, on the seeds that both variants were measured on."""
    made = []
    for name, (variant, against) in ablation.differences.items():
        for figure in _figures(values, [variant, against]):
            pairs = {
                seed: values[variant, seed][figure] - values[against, seed][figure]
                for seed in ablation.seeds
                if figure in values.get((variant, seed), {}) and figure in values.get((against, seed), {})
            }
            if pairs:
                low, high = t_interval(list(pairs.values()))
                made.append(Effect(name, variant, against, figure, statistics.fmean(pairs.values()), low, high, pairs))
    return made


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of a few numbers (Student 1908); none for fewer than two.

    Numbers that are all the same have an interval of no width, which claims more than a handful of seeds can know:
    none for those either.

    >>> [round(bound, 3) for bound in t_interval([0.1, 0.2, 0.3])]
    [-0.048, 0.448]
    >>> t_interval([0.1])
    (None, None)
    """
    if len(values) < 2 or len(set(values)) == 1:
        return None, None
    try:
        from scipy.stats import t
    except ImportError as error:
        raise ConfigError("rlkit ablate: intervals need scipy; pip install 'grounded-rl[eval]'.") from error
    middle = statistics.fmean(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return middle - half, middle + half


@dataclass(frozen=True)
class Loss:
    """A training that ended below the model it started from, in one figure: it unlearned something."""

    variant: str
    seed: int
    figure: Figure
    before: float
    after: float


def losses(ablation: Ablation, values: Measured, least: float = 0.1) -> list[Loss]:
    """Every variant and seed whose figure fell by at least `least` from its start; no run is left out of any mean."""
    made = []
    for stage in ablation.stages.values():
        for seed in ablation.seeds:
            before, after = values.get((stage.start or "", seed), {}), values.get((stage.name, seed), {})
            made += [
                Loss(stage.name, seed, figure, before[figure], after[figure])
                for figure in before
                if figure in after and before[figure] - after[figure] >= least
            ]
    return made


def as_data(ablation: Ablation, values: Measured) -> dict[str, Any]:
    """Everything as plain values, for `results.json`."""
    return {
        "title": ablation.title,
        "seeds": list(ablation.seeds),
        "means": [_plain(one) for one in means(ablation, values)],
        "effects": [{**_plain(one), "claimed": one.claimed} for one in effects(ablation, values)],
        "losses": [_plain(one) for one in losses(ablation, values)],
        "missing": [f"seed{seed}/{name}" for name, seed in missing(ablation, values)],
        "seconds": seconds(ablation),
    }


def missing(ablation: Ablation, values: Measured) -> list[tuple[str, int]]:
    """Variants and seeds without figures."""
    return [
        (s.name, seed)
        for s in ablation.stages.values()
        if s.has_model
        for seed in ablation.seeds
        if (s.name, seed) not in values
    ]


def seconds(ablation: Ablation) -> dict[str, float]:
    """What each stage took, the mean over its seeds, as its notes say."""
    found = {}
    for name in ablation.stages:
        notes = [ablation.folder(seed, name).with_name(f"{name}.done.json") for seed in ablation.seeds]
        took = [json.loads(note.read_text(encoding="utf-8"))["seconds"] for note in notes if note.is_file()]
        if took:
            found[name] = round(statistics.fmean(took), 1)
    return found


def run_folders(ablation: Ablation, values: Measured) -> list[Path]:
    """The run folders of all trainings that are measured."""
    trained = [stage.name for stage in ablation.stages.values() if stage.config is not None]
    return [ablation.folder(seed, name) for name in trained for seed in ablation.seeds if (name, seed) in values]


def evaluation_folders(ablation: Ablation, values: Measured) -> list[Path]:
    """The evaluations of all models that are measured."""
    return [evaluation_folder(ablation, seed, name) for name, seed in values]


def _figures(values: Measured, variants: Iterable[str]) -> list[Figure]:
    """The figures that all of these variants have in some seed, in the order in which they were measured."""
    having = [
        dict.fromkeys(f for (name, _), figures in values.items() if name == variant for f in figures)
        for variant in variants
    ]
    return [figure for figure in having[0] if all(figure in other for other in having[1:])]


def _plain(one: Mean | Effect | Loss) -> dict[str, Any]:
    return {**asdict(one), "figure": one.figure._asdict()}
