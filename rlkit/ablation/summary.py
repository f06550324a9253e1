"""What the seeds of every variant say together: means with their spread, and differences seed by seed with an interval.

A seed is one number here, whatever many questions are behind it: what varies from training to training is what decides
whether an effect is one. Knows results; knows neither files nor training.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlkit.ablation.results import DIGITS, Figure, Results
from rlkit.errors import ConfigError

LEVEL = 0.95
SAME = 10.0 ** (1 - DIGITS)  # figures are rounded, and so differences of equal ones are a digit more apart


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


@dataclass(frozen=True)
class Loss:
    """A training that ended below the model it started from, in one figure: it unlearned something."""

    variant: str
    seed: int
    figure: Figure
    before: float
    after: float


def means(results: Results) -> list[Mean]:
    """Each variant's figures over the seeds that it was measured on."""
    runs = results.by_run
    made = []
    for variant in results.stages:
        for figure in _figures(results, [variant]):
            seeds = {
                seed: runs[variant, seed].figures[figure]
                for seed in results.seeds
                if (variant, seed) in runs and figure in runs[variant, seed].figures
            }
            sd = statistics.stdev(seeds.values()) if len(seeds) > 1 else None
            made.append(Mean(variant, figure, statistics.fmean(seeds.values()), sd, seeds))
    return made


def effects(results: Results) -> list[Effect]:
    """The differences that the ablation names, on the seeds that both variants were measured on."""
    values = {key: run.figures for key, run in results.by_run.items()}
    made = []
    for name, (variant, against) in results.differences.items():
        for figure in _figures(results, [variant, against]):
            pairs = {
                seed: values[variant, seed][figure] - values[against, seed][figure]
                for seed in results.seeds
                if figure in values.get((variant, seed), {}) and figure in values.get((against, seed), {})
            }
            if pairs:
                low, high = t_interval(list(pairs.values()))
                made.append(Effect(name, variant, against, figure, statistics.fmean(pairs.values()), low, high, pairs))
    return made


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of a few numbers (Student 1908); none for fewer than two.

    Numbers that are all the same, as far as figures are kept, have an interval of no width, which claims more than a
    handful of seeds can know: none for those either. Raises `ConfigError` where scipy is missing.

    >>> [round(bound, 3) for bound in t_interval([0.1, 0.2, 0.3])]
    [-0.048, 0.448]
    >>> t_interval([0.1])
    (None, None)
    """
    if len(values) < 2 or max(values) - min(values) < SAME:
        return None, None
    try:
        from scipy.stats import t
    except ImportError as error:
        raise ConfigError("rlkit ablate: intervals need scipy; pip install 'grounded-rl[eval]'.") from error
    middle = statistics.fmean(values)
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return middle - half, middle + half


def losses(results: Results, least: float = 0.1) -> list[Loss]:
    """Every run and figure that fell by at least `least` from its start; no run is left out of any mean."""
    runs, made = results.by_run, []
    for (stage, seed), run in runs.items():
        start = runs.get((results.stages[stage].get("from", ""), seed))
        before = {} if start is None else start.figures
        made += [
            Loss(stage, seed, figure, before[figure], run.figures[figure])
            for figure in before
            if figure in run.figures and round(before[figure] - run.figures[figure], DIGITS - 1) >= least
        ]
    return made


def missing(results: Results) -> list[tuple[str, int]]:
    """Models without figures, by stage and seed."""
    runs = results.by_run
    return [
        (name, seed)
        for name, stage in results.stages.items()
        if "sample" not in stage
        for seed in results.seeds
        if (name, seed) not in runs or not runs[name, seed].figures
    ]


def seconds(results: Results) -> dict[str, float]:
    """What making each stage took, the mean over its seeds."""
    taken = {name: [run.seconds["made"] for run in results.runs if run.stage == name and "made" in run.seconds] for name in results.stages}  # fmt: skip
    return {name: round(statistics.fmean(each), 1) for name, each in taken.items() if each}


def reward_shares(results: Results) -> dict[str, float]:
    """The share of a step's time that each stage spent in rewards, the mean over its seeds."""
    shares = {name: [run.reward_share for run in results.runs if run.stage == name and run.reward_share is not None] for name in results.stages}  # fmt: skip
    return {name: statistics.fmean(each) for name, each in shares.items() if each}


def as_data(results: Results) -> dict[str, Any]:
    """What follows from the single figures, as plain values."""
    found = [{**_plain(one), "claimed": one.claimed} for one in effects(results)]
    return {
        "means": [_plain(one) for one in means(results)],
        "effects": found,
        "losses": [_plain(one) for one in losses(results)],
        "missing": [f"seed{seed}/{name}" for name, seed in missing(results)],
    }


def _figures(results: Results, variants: Iterable[str]) -> list[Figure]:
    """The figures that all of these variants have in some seed, in the order in which they were measured."""
    having = [dict.fromkeys(f for run in results.runs if run.stage == name for f in run.figures) for name in variants]
    return [figure for figure in having[0] if all(figure in other for other in having[1:])]


def _plain(one: Mean | Effect | Loss) -> dict[str, Any]:
    """Plain values on one level, with the count of seeds in place of every seed's value."""
    told = {**asdict(one), **one.figure._asdict()}
    if not isinstance(one, Loss):
        told["seeds"] = len(one.by_seed)
    rounded = {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in told.items()}
    return {key: value for key, value in rounded.items() if key not in ("figure", "by_seed")}
