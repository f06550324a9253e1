"""Seeds are what is counted: means with their spread, paired differences, and no effect claimed without its interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from rlkit.ablation.results import Figure, Results, Run
from rlkit.ablation.summary import as_data, effects, losses, means, missing, seconds, t_interval
from rlkit.ablation.tables import mean_table, tables
from rlkit.evaluation.tables import text

EM = Figure("synthetic", "hard", "full", "em")
FIGURES = {"sft": [0.5, 0.6, 0.4], "full": [0.9, 0.95, 0.9], "bare": [0.91, 0.93, 0.92], "worse": [0.2, 0.65, 0.4]}
SETTINGS = {
    "title": "Mine",
    "before": {"sft": {}, "answers": {"sample": "grpo.yaml", "from": "sft"}},
    "variants": {name: {"from": "sft"} for name in ("full", "bare", "worse")},
    "differences": {"GRPO": ["full", "sft"], "grounding": ["full", "bare"]},
    "evaluation": {"suites": {"synthetic": {"headline": "em"}}},
}


@pytest.fixture
def results():
    runs = [
        Run(name, seed, {EM: values[seed - 1]}, {EM: 300}, {"made": 60.0 + seed})
        for seed in (1, 2, 3)
        for name, values in FIGURES.items()
    ]
    return Results(SETTINGS, ("rlkit ablate mine.yaml",), ({"torch": "2"},), tuple(runs))


def without(results, stage, seed):
    return replace(results, runs=tuple(run for run in results.runs if (run.stage, run.seed) != (stage, seed)))


def printed(results):
    return " ".join("\n".join(map(text, tables(results, ["em"]))).split())


def test_an_effect_is_the_mean_of_paired_differences_with_their_interval(results):
    gain, grounding = effects(results)
    ours = np.subtract(FIGURES["full"], FIGURES["sft"])
    expected = stats.ttest_rel(FIGURES["full"], FIGURES["sft"]).confidence_interval(0.95)
    assert gain.difference == pytest.approx(ours.mean())
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high))
    assert gain.claimed
    assert not grounding.claimed
    assert dict(gain.by_seed) == pytest.approx({1: 0.4, 2: 0.35, 3: 0.5})


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [low <= 0.3 <= high for low, high in (t_interval(list(rng.normal(0.3, 1, 5))) for _ in range(2000))]
    assert 0.935 <= np.mean(held) <= 0.965


def test_equal_differences_claim_nothing(results):
    """Three seeds at 0 (or all at 1) know no more of the fourth than one does."""
    runs = [replace(run, figures={EM: 1.0 if run.stage == "full" else 0.0}) for run in results.runs]
    assert not any(effect.claimed for effect in effects(replace(results, runs=tuple(runs))))
    assert t_interval([0.5 - 0.4, 0.4 - 0.3]) == (None, None)  # not the same number to a computer
    assert t_interval([0.676667 - 0.573333, 0.553333 - 0.45]) == (None, None)  # 31 of 300 questions, both times


def test_a_loss_of_exactly_a_tenth_is_listed(results):
    worse = {1: 0.4, 2: 0.500001, 3: 0.31}
    runs = [replace(run, figures={EM: worse[run.seed]}) if run.stage == "worse" else run for run in results.runs]
    assert [loss.seed for loss in losses(replace(results, runs=tuple(runs)))] == [1, 2]


def test_figures_of_several_suites_keep_their_suite(results):
    other = Figure("memory", "hard", "full", "em")
    runs = [
        replace(run, figures={**run.figures, other: 0.5}, counts={**run.counts, other: 300}) for run in results.runs
    ]
    header = mean_table(replace(results, runs=tuple(runs)), ["em"]).header
    assert header[2:4] == ("synthetic hard em", "memory hard em")
    assert mean_table(results, ["em"]).header[2] == "hard em"


def test_columns_with_fewer_seeds_are_not_told_as_more(results):
    f1 = Figure("synthetic", "hard", "full", "f1")
    runs = [replace(run, figures={**run.figures, f1: 0.5}, counts={**run.counts, f1: 300}) if run.seed == 1 else run for run in results.runs]  # fmt: skip
    assert {row[1] for row in mean_table(replace(results, runs=tuple(runs)), ["em", "f1"]).body} == {"1 to 3"}
    assert {row[1] for row in mean_table(results, ["em"]).body} == {"3"}


def test_several_sets_of_versions_are_told(results):
    assert "sets of versions" not in printed(results)
    others = ({"torch": "2", "code": "a"}, {"torch": "2", "code": "b"})
    assert "made with 2 sets of versions, which differ in code; see results.json" in printed(
        replace(results, versions=others)
    )


def test_a_difference_without_figures_is_not_left_out_silently(results):
    runs = [run for run in results.runs if run.stage != "bare"]
    assert "not measured: grounding" in printed(replace(results, runs=tuple(runs)))
    assert "not measured" not in printed(results)


def test_a_variant_lacking_a_seed_is_compared_on_those_it_has(results):
    results = without(results, "bare", 2)
    (mean,) = (one for one in means(results) if one.variant == "bare")
    assert sorted(mean.by_seed) == [1, 3]
    assert sorted(effects(results)[1].by_seed) == [1, 3]
    assert missing(results) == [("bare", 2)]  # and no rows of answers: they are no model
    assert as_data(results)["missing"] == ["seed2/bare"]
    assert "not measured, seed 2: bare" in printed(results)


def test_what_unlearned_something_is_listed_and_counted_all_the_same(results):
    (loss,) = losses(results)
    assert (loss.variant, loss.seed, loss.before, loss.after) == ("worse", 1, 0.5, 0.2)
    (mean,) = (one for one in means(results) if one.variant == "worse")
    assert mean.mean == pytest.approx(np.mean(FIGURES["worse"]))
    assert "0.917 ±0.029" in printed(results)
    assert "ended below its start: hard em 0.500 to 0.200" in printed(results)


def test_what_failed_or_broke_down_is_listed(results):
    lost = "the reward ended at 0.100; its best was 0.900"
    runs = [
        replace(run, failures=(lost,)) if (run.stage, run.seed) == ("bare", 3) else run
        for run in without(results, "full", 2).runs
    ]
    runs.append(Run("full", 2, failures=("could not be made: no memory for this",)))
    results = replace(results, runs=tuple(runs))
    assert f"bare │ 3 │ {lost} │" in printed(results)
    assert "full │ 2 │ could not be made: no memory for this │" in printed(results)
    assert "not measured, seed 2: full" in printed(results)


def test_nothing_that_failed_is_told_as_well(results):
    results = without(results, "worse", 1)
    assert len(tables(results, ["em"])) == 2
    assert "no run failed, broke down, or ended below its start by 0.1 or more" in printed(results)


def test_seconds_are_those_of_making(results):
    assert seconds(results)["full"] == 62.0
