"""Figures of rows, subsets and suites; two models on the same rows; several runs."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.errors import DataError
from rlkit.evaluation.summary import OVERALL, Cell, compare, spread, summarise


def rows(values, suite="s", subset="", context="full", metric="em", start=0):
    return [
        {"suite": suite, "subset": subset, "context": context, "id": f"q{number}", "values": {metric: value}}
        for number, value in enumerate(values, start)
    ]


def by_subset(cells):
    return {cell.subset: cell for cell in cells}


def random_values(seed, count):
    return [float(value) for value in np.random.default_rng(seed).integers(0, 2, count)]


VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1, width=32)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(VALUES, VALUES, st.sampled_from(["example", "macro"]), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(one, other, overall, rng):
    examples = [*rows(one, subset="a"), *rows(other, subset="b")]
    turned = rng.sample(examples, len(examples))
    options = {"overall": overall, "groups": {"both": ["a", "b"]}, "resamples": 50}
    assert set(summarise(examples, **options)) == set(summarise(turned, **options))


@settings(deadline=None, max_examples=60)
@given(VALUES)
def test_a_figure_is_the_mean_of_its_rows_inside_its_interval(values):
    (cell,) = summarise(rows(values), resamples=200)
    kept = [value for value in values if value is not None]
    assert (cell.n, cell.none) == (len(kept), len(values) - len(kept))
    assert cell.mean == (pytest.approx(sum(kept) / len(kept), abs=1e-6) if kept else None)
    assert (cell.low is None) == (cell.high is None)
    if cell.low is not None:
        assert min(kept) - 1e-9 <= cell.low <= cell.high <= max(kept) + 1e-9


def test_no_interval_where_rows_show_no_spread():
    for values in ([1.0], [0.0], [1.0] * 50):
        (cell,) = summarise(rows(values))
        assert (cell.mean, cell.low, cell.high) == (values[0], None, None)


def test_overall_weighs_rows_or_subsets():
    examples = [*rows([1.0] * 30, subset="large"), *rows([0.0] * 10, subset="small")]
    by_row = by_subset(summarise(examples))[OVERALL]
    by_part = by_subset(summarise(examples, overall="macro"))[OVERALL]
    assert (by_row.mean, by_row.n) == (0.75, 40)
    assert (by_part.mean, by_part.n) == (0.5, 40)


def test_a_macro_interval_is_narrower_than_its_parts_because_they_vary_apart():
    values = {part: np.random.default_rng(ord(part)).random(100).tolist() for part in "abcd"}
    examples = [row for part in "abcd" for row in rows(values[part], subset=part)]
    cells = by_subset(summarise(examples, overall="macro"))
    width = cells[OVERALL].high - cells[OVERALL].low
    parts = [cells[part].high - cells[part].low for part in "abcd"]
    assert width == pytest.approx(sum(parts) / 4 / 2, rel=0.1)  # four independent parts: half as wide as one


def test_a_suite_of_one_part_has_no_overall():
    assert [cell.subset for cell in summarise(rows([1.0, 0.0], subset="only"))] == ["only"]


def test_groups_are_means_of_all_their_rows():
    examples = [*rows([1.0] * 3, subset="a"), *rows([0.0], subset="b"), *rows([0.5] * 2, subset="c")]
    cells = by_subset(summarise(examples, groups={"first": ["a", "b"], "unseen": ["x"]}))
    assert (cells["first"].mean, cells["first"].n) == (0.75, 4)
    assert "unseen" not in cells


def test_suites_and_contexts_stay_apart():
    examples = [*rows([1.0], suite="a"), *rows([0.0], suite="b"), *rows([0.5], suite="a", context="bm25")]
    assert {(cell.suite, cell.context): cell.mean for cell in summarise(examples)} == {
        ("a", "full"): 1.0,
        ("b", "full"): 0.0,
        ("a", "bm25"): 0.5,
    }


def test_two_runs_in_one_are_refused():
    with pytest.raises(DataError, match=r"s full: row q0 is there twice.*`spread`"):
        summarise([*rows([1.0]), *rows([0.0])])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(DataError, match="row q0: em is"):
        summarise(rows([value]))


def test_numbers_that_do_not_add_up_to_a_figure_are_refused():
    with pytest.raises(DataError, match="em has 2 numbers a row"):
        summarise(rows([[1.0, 2.0]]))


def test_a_further_metric_changes_no_other_interval():
    alone = summarise(rows(random_values(1, 80)))
    both = [{**row, "values": {**row["values"], "f1": 0.5}} for row in rows(random_values(1, 80))]
    assert summarise(both)[0] == alone[0]


def test_counts_of_rows_add_up_to_corpus_bleu():
    lengths = [4.0, 3.0, 2.0, 1.0, 4.0, 4.0]  # n-grams of a quote of four words, words quoted, words of the fact
    values = [[4.0, 3.0, 2.0, 1.0, *lengths], [0.0] * 4 + lengths] * 20
    (cell,) = summarise(rows(values, metric="evidence_bleu_corpus"), resamples=200)
    assert 0 < cell.low < cell.mean < cell.high < 1
    assert (cell.mean, cell.n) == (pytest.approx(0.5), 40)


def test_the_order_of_subsets_changes_no_figure_of_counts():
    parts = [
        rows(
            [[n, 3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 1.0, 4.0, 4.0] for n in numbers],
            subset=part,
            metric="evidence_bleu_corpus",
        )
        for part, numbers in (("a", [1.0, 2.0, 3.0]), ("b", [4.0, 3.0]))
    ]
    there = by_subset(summarise(parts[0] + parts[1], resamples=50))
    back = by_subset(summarise(parts[1] + parts[0], resamples=50))
    assert there[OVERALL] == back[OVERALL]
    assert there[OVERALL].low is not None


@settings(deadline=None, max_examples=40)
@given(VALUES.filter(lambda values: any(value is not None for value in values)))
def test_a_model_does_not_differ_from_itself(values):
    for one in compare(rows(values), rows(values), resamples=50):
        assert (one.difference, one.only_a, one.only_b) == (0.0, 0, 0)
        assert (one.low, one.high) == ((0.0, 0.0) if one.n > 1 else (None, None))


def test_pairing_lets_hard_rows_cancel():
    rng = np.random.default_rng(0)
    hardness = rng.random(200)
    one, other = hardness, hardness + 0.02 + 0.01 * rng.standard_normal(200)
    (difference,) = compare(rows(one.tolist()), rows(other.tolist()))
    assert 0 < difference.low < difference.difference < difference.high
    alone = [summarise(rows(values.tolist()))[0] for values in (one, other)]
    assert alone[0].high > alone[1].low  # their own intervals overlap


def test_the_paired_interval_holds_the_truth_in_95_of_100_test_sets():
    rng = np.random.default_rng(9)
    held = 0
    for trial in range(200):
        one = rng.random(80) < 0.4
        other = np.where(rng.random(80) < 0.3, rng.random(80) < 0.9, one)
        truth = 0.3 * (0.9 - 0.4)
        (found,) = compare(rows(one.tolist()), rows(other.tolist()), seed=trial, resamples=300)
        held += found.low <= truth <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_only_rows_of_both_count_and_the_others_are_told():
    (difference,) = compare(rows([1.0, 0.0, None, 1.0]), rows([0.0, 1.0, 1.0], start=1), resamples=50)
    # q1 and q3 are scored in both; q0 only in a, q2 only in b, where it applies.
    assert (difference.n, difference.only_a, difference.only_b) == (2, 1, 1)
    assert (difference.a, difference.b, difference.difference) == (0.5, 0.5, 0.0)


def test_comparing_has_overall_and_groups_as_summaries_do():
    one = [*rows([0.0] * 30, subset="a"), *rows([0.0] * 10, subset="b")]
    other = [*rows([1.0] * 30, subset="a"), *rows([0.0] * 10, subset="b")]
    by_row = {d.subset: d.difference for d in compare(one, other, groups={"g": ["b"]}, resamples=50)}
    by_part = {d.subset: d.difference for d in compare(one, other, overall="macro", resamples=50)}
    assert by_row == {"a": 1.0, "b": 0.0, "g": 0.0, OVERALL: 0.75}
    assert by_part[OVERALL] == 0.5


def test_nothing_in_common_is_an_error():
    with pytest.raises(DataError, match="no example in common"):
        compare(rows([1.0]), rows([1.0], context="bm25"))


def cell(mean, n=100, metric="em", subset=""):
    return Cell("s", subset, "full", metric, mean, n, 0, None, None)


def test_runs_are_spread_and_not_mixed():
    (found,) = spread([[cell(0.2)], [cell(0.4)], [cell(0.6, n=99)]])
    assert (found.mean, found.least, found.greatest, found.runs, found.n) == (pytest.approx(0.4), 0.2, 0.6, 3, 99)
    assert found.sd == pytest.approx(0.2)


def test_one_run_has_no_spread_and_a_lacking_figure_is_an_error():
    assert spread([[cell(0.2)]])[0].sd is None
    with pytest.raises(DataError, match="run 2 of 2 has no f1 of s"):
        spread([[cell(0.2), cell(0.3, metric="f1")], [cell(0.2)]])


def test_a_figure_that_applies_to_no_row_of_a_run_is_left_out():
    assert spread([[cell(None, n=0)], [cell(0.2)]]) == []


def test_the_order_of_runs_changes_nothing():
    runs = [[cell(value)] for value in (0.1, 0.5, 0.3)]
    expected = spread(runs)
    random.Random(0).shuffle(runs)
    assert [round(one.mean, 12) for one in spread(runs)] == [round(one.mean, 12) for one in expected]
