import pickle

import pytest

from rewards.coverage import fact_coverage
from rewards.errors import RewardError
from rewards.sample import Sample

FACTS = ["Ada hired Leo.", "Leo visited Fenwick."]
OTHERS = ["Leo praised Kelmore.", "Mara hired Ada.", "Mara visited Norwend.", "Ada visited Kestrin."]
ROW = Sample(context=[" ".join([FACTS[0], *OTHERS]), FACTS[1]], evidence=FACTS)


def rate(*spans, row=ROW, **parameters):
    thought = " ".join(f"<retrieval>{span}</retrieval>" for span in spans)
    return fact_coverage(**parameters)(row.with_completion(f"<think>{thought}</think> Answer: Fenwick"))


def three(*spans, row=ROW):
    return [round(rate(*spans, row=row, measure=measure), 3) for measure in ("recall", "precision", "f1")]


def test_the_facts_themselves_score_1():
    assert three(*FACTS) == three(*FACTS, *FACTS) == three(*map(str.upper, reversed(FACTS))) == [1.0, 1.0, 1.0]


def test_half_of_the_facts():
    assert three(FACTS[0]) == [0.5, 1.0, 0.667]


def test_no_quote_and_wrong_quotes_score_0():
    assert three() == three("made up out of nothing") == three(OTHERS[1]) == [0.0, 0.0, 0.0]


def test_slightly_altered_facts_are_covered():
    fact = "Ana Costa was born in the old part of Lisbon."
    row = Sample(context=["Nobody knows much of her. " + fact], evidence=[fact])
    recall, precision, f1 = three(fact.replace("old part", "older part"), row=row)
    assert recall == 1.0
    assert min(precision, f1) > 0.95


def test_altered_facts_are_not_covered():
    assert three("Eda hired Leo.", "Leo visited Fenmoor.") == [0.0, 0.0, 0.0]


def test_quoting_everything_covers_all_but_loses_precision():
    recall, precision, f1 = three(*(passage.text for passage in ROW.context))
    assert recall == 1.0
    assert precision == pytest.approx(34 / 120, abs=0.05)
    assert f1 < 0.5 < rate(FACTS[0])


def test_a_fact_inside_a_longer_quote_is_covered():
    assert three(f"{FACTS[0]} {OTHERS[0]}", FACTS[1])[0] == 1.0


def test_a_fact_is_covered_by_most_of_its_words():
    fact = "In 1956 Ana Costa was born in Lisbon, the capital."
    row = Sample(context=["Nobody knows much of her. " + fact + " She moved later on."], evidence=[fact])
    assert rate("Ana Costa was born in Lisbon, the capital", row=row, measure="recall") == 1.0
    assert rate("In 1956 Ana Costa was born", row=row, measure="recall") == 0.0
    assert rate("In 1956 Ana Costa was born", row=row, measure="recall", min_share=0.6) == 1.0
    assert rate("In 1956 Ana Costa was", "born in Lisbon, the capital.", row=row, measure="recall") == 1.0
    assert rate("of her. In 1956 Ana Costa was born in Lisbon", row=row, measure="recall") == 1.0
    assert rate("visited Fenwick.", measure="recall") == 0.0


def test_precision_counts_each_place_once():
    copies = [FACTS[1], "Leo visited Fenwick", "visited Fenwick."]
    assert rate(*copies, OTHERS[0], measure="precision") == pytest.approx(
        rate(FACTS[1], OTHERS[0], measure="precision")
    )


def test_text_that_stands_nowhere_lowers_precision():
    assert rate(*FACTS, "x" * 34, measure="precision") == 0.5


def test_a_quote_may_refer_to_any_place_where_it_stands():
    fact = "The film was directed by Smith. It won a prize."
    row = Sample(context=["Also: The film was directed by Smith. It failed.", fact], evidence=[fact])
    assert three("The film was directed by Smith.", "It won a prize.", row=row) == [1.0, 1.0, 1.0]


def test_facts_inside_other_facts_do_not_keep_gold_from_1():
    row = Sample(
        context=["Pick Me Up! was her debut album.", "Pick Me Up!"],
        evidence=["Pick Me Up!", "Pick Me Up! was her debut album."],
    )
    assert three(*row.evidence, row=row) == [1.0, 1.0, 1.0]
    row = Sample(
        context=["Pick Me Up! was her debut album."], evidence=["Pick Me Up!", "Pick Me Up! was her debut album."]
    )
    assert three(*row.evidence, row=row) == [1.0, 1.0, 1.0]


def test_evidence_that_is_not_in_the_passages_cannot_be_covered():
    row = Sample(context=[FACTS[0]], evidence=FACTS)
    assert three(*FACTS, row=row)[0] == 0.5


@pytest.mark.parametrize("changes", [{"evidence": []}, {"evidence": [" "]}, {"context": []}])
def test_rows_without_evidence_or_passages_do_not_apply(changes):
    sample = Sample(**{"context": ROW.context, "evidence": FACTS, **changes})
    assert not fact_coverage().applies(sample)
    assert fact_coverage()(sample) is None


def test_wrong_parameters_are_refused():
    with pytest.raises(RewardError, match="Did you mean 'recall'"):
        fact_coverage("recal")
    with pytest.raises(RewardError, match="min_share is 0"):
        fact_coverage(min_share=0)


def test_pickles_and_compares():
    part = fact_coverage("recall")
    assert pickle.loads(pickle.dumps(part)) == part != fact_coverage()
