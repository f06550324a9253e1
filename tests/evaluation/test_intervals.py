"""Bootstrap intervals: that they hold the truth as often as they say, whatever shortcut drew them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.evaluation import intervals
from rlkit.evaluation.intervals import interval, mean_draws, sum_draws

RIGHT_OR_WRONG = "right or wrong"


def drawn(kind, rng, count):
    return (rng.random(count) < 0.3).astype(float) if kind == RIGHT_OR_WRONG else rng.beta(0.5, 1.0, count)


@pytest.mark.parametrize("count", [60, 400])
@pytest.mark.parametrize(("kind", "truth"), [(RIGHT_OR_WRONG, 0.3), ("graded", 1 / 3)])
def test_the_interval_holds_the_truth_in_95_of_100_test_sets(kind, truth, count):
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(400):
        low, high = interval(mean_draws(drawn(kind, rng, count), [trial], resamples=400))
        held += low <= truth <= high
    assert 0.91 <= held / 400 <= 0.985


def test_the_interval_of_a_ratio_of_sums_holds_the_truth_too():
    rng = np.random.default_rng(6)
    held = 0
    for trial in range(300):
        weights = rng.integers(1, 9, 80).astype(float)
        rows = np.column_stack([weights * rng.random(80), weights])
        sums = sum_draws(rows, [trial], resamples=400)
        low, high = interval(sums[:, 0] / sums[:, 1])
        held += low <= 0.5 <= high
    assert 0.90 <= held / 300 <= 0.985


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_means_do_not_depend_on_the_order_of_the_values(values, random):
    turned = random.sample(values, len(values))
    assert np.array_equal(mean_draws(values, [1], 50), mean_draws(turned, [1], 50))


def test_the_same_seed_draws_the_same_and_another_does_not():
    values = np.random.default_rng(0).random(50)
    assert np.array_equal(mean_draws(values, [1, 2], 100), mean_draws(values, [1, 2], 100))
    assert not np.array_equal(mean_draws(values, [1, 2], 100), mean_draws(values, [1, 3], 100))


@pytest.mark.parametrize("count", [200, 20_000])
def test_counting_distinct_values_draws_as_picking_rows_does(count):
    values = (np.random.default_rng(1).random(count) < 0.4).astype(float)
    picked = sum_draws(values[:, None], [2], 3000)[:, 0] / count
    counted = mean_draws(values, [3], 3000)
    assert counted.mean() == pytest.approx(picked.mean(), abs=4e-3)
    assert counted.std() == pytest.approx(picked.std(), rel=0.08)


def test_many_distinct_values_are_drawn_in_slices_with_the_same_mean_and_spread():
    values = np.random.default_rng(2).beta(0.5, 0.5, 30_000)
    levels, counts = intervals._levels(np.sort(values))
    assert len(levels) <= intervals.MAX_LEVELS
    assert counts.sum() == len(values)
    assert levels @ counts / len(values) == pytest.approx(values.mean(), abs=1e-12)
    spread = np.sqrt(np.average((levels - values.mean()) ** 2, weights=counts))
    assert spread == pytest.approx(values.std(), rel=1e-4)
    assert mean_draws(values, [1], 2000).std() == pytest.approx(values.std() / len(values) ** 0.5, rel=0.08)


def test_many_rows_of_counts_are_drawn_in_groups_with_the_same_spread():
    rng = np.random.default_rng(3)
    rows = np.column_stack([np.sort(rng.random(10_000)), np.ones(10_000)])  # neighbours alike, as in a sorted file
    sums = sum_draws(rows, [1], 2000)
    means = sums[:, 0] / sums[:, 1]
    assert means.mean() == pytest.approx(rows[:, 0].mean(), abs=3e-4)
    assert means.std() == pytest.approx(rows[:, 0].std() / 100, rel=0.1)
    assert np.allclose(sums[:, 1], 10_000)


def test_equal_values_have_no_spread_and_draws_that_are_no_number_do_not_count():
    assert interval(mean_draws([0.1] * 7, [0], 100)) == (pytest.approx(0.1), pytest.approx(0.1))
    assert interval(np.array([0.0, 1.0, np.nan])) == (0.025, 0.975)
