"""LoCoMo's official score, on random answers and on the answers of the real questions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RowError, Sample
from rlkit.evaluation.metrics.locomo import locomo_f1, parts_f1, stemmed_f1
from tests.evaluation import official
from tests.evaluation.texts import TEXTS

PHRASES = st.lists(
    st.sampled_from(
        ["painting", "painted", "sunsets", "and", "camping,", "the", "dog", ",", "; because", "U.S.", "12,5", "a\u0301"]
    ),
    max_size=9,
)
ANSWERS = st.one_of(PHRASES.map(" ".join), TEXTS)


def row(gold, category, answer):
    return Sample.from_record({"golds": gold, "category": category}, completion=f"<think></think> Answer: {answer}")


@settings(deadline=None, max_examples=300)
@given(ANSWERS, ANSWERS)
def test_both_scores_are_the_official_ones(answer, gold):
    assert stemmed_f1(answer, gold) == official.locomo_f1(answer, gold)
    assert parts_f1(answer, gold) == pytest.approx(official.locomo_score(answer, gold, 1), abs=1e-15)


@settings(deadline=None, max_examples=200)
@given(ANSWERS, ANSWERS.filter(str.strip), st.integers(1, 5))
def test_every_category_is_scored_officially(answer, gold, category):
    sample = row(gold, category, answer)
    expected = official.locomo_score(sample.care.answer, gold, category)
    assert locomo_f1()(sample) == pytest.approx(expected, abs=1e-15)


def test_the_answers_of_the_real_questions_score_as_officially(real_records):
    records = real_records("locomo", "locomo.json")
    answers = [record["golds"][0] for record in records]
    scores = []
    for shift in (0, 1, 5):
        for record, answer in zip(records, answers[shift:] + answers[:shift], strict=True):
            sample = Sample.from_record({**record, "sessions": []}, completion=answer)
            expected = max(
                official.locomo_score(sample.completion, gold, record["category"]) for gold in record["golds"]
            )
            scores.append(locomo_f1()(sample))
            assert scores[-1] == pytest.approx(expected, abs=1e-15)
    assert len(scores) == 3 * 1157
    assert 0.1 < sum(scores) / len(scores) < 0.9


@pytest.mark.parametrize(
    ("category", "gold", "answer", "score"),
    [
        (1, "pottery, camping", "camping, pottery", 1.0),
        (1, "pottery, camping", "camping", 0.5),
        (2, "7 May 2023", "May 7, 2023", 1.0),
        (3, "Likely no; she dislikes it", "likely no", 1.0),
        (4, "the dog and a cat", "Dogs, cats", 1.0),
        (4, "Rome", "Paris", 0.0),
        (5, "Not mentioned in the conversation", "Not mentioned in the conversation", 1.0),
        (5, "x", "There is NO information available.", 1.0),
        (5, "x", "x", 0.0),
    ],
)
def test_the_rule_of_each_category(category, gold, answer, score):
    assert locomo_f1()(row(gold, category, answer)) == pytest.approx(score)


def test_words_end_where_they_do_in_the_official_script():
    # Beside a combining mark, `re` would cut off the articles and find the rest equal.
    assert stemmed_f1("a\u0301", "an\u0301") == official.locomo_f1("a\u0301", "an\u0301") == 0.0


def test_json_is_scored_by_its_answer_and_strictness_by_the_task():
    record = {"task": "memory_t1", "golds": "Rome", "category": 4}
    output = '{"selected_memory": ["s1"], "answer": "in Rome"}'
    assert locomo_f1()(Sample.from_record(record, completion=output)) == pytest.approx(2 / 3)
    assert locomo_f1(strict=True)(Sample.from_record(record, completion="Rome")) == 0.0


@pytest.mark.parametrize("category", [None, 6, "multi_hop"])
def test_a_row_without_a_category_is_an_error(category):
    with pytest.raises(RowError, match="row q1: its category is"):
        locomo_f1()(Sample.from_record({"id": "q1", "golds": "x", "category": category}, completion="x"))
