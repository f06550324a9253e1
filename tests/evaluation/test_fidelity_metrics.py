"""Context fidelity: pairs of a factual and a counterfactual version of one question."""

from __future__ import annotations

import random

import pytest

from rewards import RowError, Sample
from rlkit.evaluation.metrics import METRICS
from rlkit.evaluation.summary import compare, summarise

NAMES = ("factual_em", "counterfactual_em", "fidelity_gap", "prior_answers")


def pair(number):
    base = {"task": "care", "pair": f"p{number}", "prior_answer": "Lisbon"}
    factual = {**base, "id": f"p{number}-f", "version": "factual", "golds": "Lisbon"}
    counterfactual = {**base, "id": f"p{number}-c", "version": "counterfactual", "golds": "Porto"}
    return factual, counterfactual


def examples(model, pairs=40, by_version=False):
    for number in range(pairs):
        for record in pair(number):
            sample = Sample.from_record(record, completion=f"<think></think> Answer: {model(record)}")
            values = {name: METRICS[name](sample) for name in NAMES}
            subset = record["version"] if by_version else ""
            yield {
                "suite": "f",
                "subset": subset,
                "context": "full",
                "id": record["id"],
                "pair": record["pair"],
                "values": values,
            }


def reads(record):
    return record["golds"]


def knows(record):
    return "Lisbon"


def half(record):
    return record["golds"] if int(record["pair"][1:]) % 2 else "Lisbon"


def figures(model, **options):
    return {(cell.subset, cell.metric): cell for cell in summarise(examples(model, **options), resamples=500)}


def test_a_model_that_reads_has_no_gap_and_one_that_remembers_has_the_widest():
    assert [figures(reads)["", name].mean for name in NAMES] == [1.0, 1.0, 0.0, 0.0]
    assert [figures(knows)["", name].mean for name in NAMES] == [1.0, 0.0, 1.0, 1.0]
    assert [figures(half)["", name].mean for name in NAMES] == [1.0, 0.5, 0.5, 0.5]


def test_each_version_counts_its_own_rows():
    found = figures(half)
    assert (found["", "factual_em"].n, found["", "factual_em"].none) == (40, 40)
    assert (found["", "counterfactual_em"].n, found["", "prior_answers"].n, found["", "fidelity_gap"].n) == (40, 40, 80)


def test_the_gap_varies_over_pairs_and_not_over_rows():
    gap = figures(half)["", "fidelity_gap"]
    assert gap.low < 0.5 < gap.high
    # 40 pairs of which half have a gap of 1: the interval of a mean of 40 such numbers.
    assert gap.high - gap.low == pytest.approx(2 * 1.96 * 0.5 / 40**0.5, rel=0.15)


@pytest.mark.parametrize("by_version", [False, True])
def test_pairs_that_are_hard_in_both_versions_leave_no_doubt_about_the_gap(by_version):
    def guesses(record):
        return record["golds"] if int(record["pair"][1:]) % 2 else "who knows"

    gap = figures(guesses, by_version=by_version)["overall" if by_version else "", "fidelity_gap"]
    assert (gap.mean, gap.low, gap.high) == (0.0, None, None)


def test_versions_in_subsets_of_their_own_meet_in_the_overall_gap():
    found = figures(half, by_version=True)
    assert found["factual", "fidelity_gap"].mean is None
    assert found["counterfactual", "fidelity_gap"].low is None
    together, apart = figures(half)["", "fidelity_gap"], found["overall", "fidelity_gap"]
    assert (apart.mean, apart.n) == (together.mean, together.n)
    assert apart.high - apart.low == pytest.approx(together.high - together.low, rel=0.15)


def test_two_models_gaps_are_compared_on_the_same_pairs():
    difference = next(d for d in compare(examples(reads), examples(half), resamples=500) if d.metric == "fidelity_gap")
    assert difference.difference == 0.5
    assert 0.2 < difference.low < 0.5 < difference.high < 0.8
    same = next(d for d in compare(examples(half), examples(half), resamples=500) if d.metric == "fidelity_gap")
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)


def test_the_order_of_the_rows_changes_nothing():
    rows = list(examples(half))
    expected = summarise(rows, resamples=500)
    random.Random(1).shuffle(rows)
    assert sorted(summarise(rows, resamples=500), key=lambda cell: cell.metric) == sorted(
        expected, key=lambda cell: cell.metric
    )


def test_the_prior_answer_is_only_told_apart_where_it_is_wrong():
    factual, counterfactual = pair(1)
    prior = METRICS["prior_answers"]
    assert prior(Sample.from_record(factual, completion="Lisbon")) is None
    assert prior(Sample.from_record(counterfactual, completion="<think></think> Answer: lisbon.")) == 1.0
    assert prior(Sample.from_record(counterfactual, completion="Porto")) == 0.0
    assert prior(Sample(golds="Porto", completion="Lisbon")) is None


def test_rows_that_are_no_pair_are_left_out():
    assert [METRICS[name](Sample(golds="Lisbon", completion="Lisbon")) for name in NAMES] == [None] * 4


def test_a_misspelt_version_is_an_error():
    with pytest.raises(RowError, match=r"row q: version is 'contrafactual'.*Did you mean 'counterfactual'"):
        METRICS["fidelity_gap"](
            Sample.from_record({"id": "q", "golds": "x", "version": "contrafactual"}, completion="x")
        )
