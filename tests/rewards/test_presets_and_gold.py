"""The two published rewards, and the law that a row's own gold output earns the maximum."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from rewards import RowError, Sample, exact_match, presets
from rewards.gold import gold_completion
from rewards.quotes import locate
from rewards.sample import Passage
from rewards.testing import completions, example_samples, samples

SESSIONS = [{"id": f"s{i}", "date": f"2024-0{i}-15"} for i in range(1, 5)]


def memory(**fields):
    return Sample(**{"id": "m", "task": "memory_t1", "kind": "choice", "golds": "B", "sessions": SESSIONS, **fields})


def earned(preset, sample, completion=None):
    return preset(sample.with_completion(gold_completion(sample) if completion is None else completion))


@pytest.mark.parametrize("name", ["care", "memory_t1"])
def test_gold_earns_the_maximum_on_the_example_rows(name):
    preset = presets.PRESETS[name]()
    for sample in example_samples(name):
        score = earned(preset, sample)
        assert score.total == pytest.approx(score.maximum, abs=1e-12), sample.id
        assert all(value is not None for part, value in score.parts.items() if preset.best(part, sample))


def test_a_replacement_takes_the_place_of_a_part():
    strict = presets.care(accuracy=(0.5, exact_match()), brevity=(0.2, len))
    assert list(strict.parts) == ["accuracy", "format", "grounding", "brevity"]
    assert (strict.weights["accuracy"], strict.parts["accuracy"]) == (0.5, exact_match())


def test_unreadable_memory_output_earns_minus_a_half_whatever_the_row():
    preset = presets.memory_t1()
    for row in (memory(), memory(evidence=["s1"], time_range=("2024-01-01", "2024-01-31"))):
        score = earned(preset, row, "I do not know.")
        assert (score.total, score.parts) == (
            -0.5,
            {"format": -0.5, "accuracy": None, "evidence": None, "temporal": None},
        )
        assert score.maximum == preset.maximum(row)


def test_the_maximum_says_what_the_labels_of_a_row_allow():
    labelled = memory(evidence=["s1"], time_range=("2024-01-01", "2024-01-31"))
    assert [presets.memory_t1().maximum(row) for row in (labelled, memory(evidence=["s1"]), memory())] == [
        pytest.approx(1.0), pytest.approx(0.8), pytest.approx(0.6)
    ]  # fmt: skip
    assert earned(presets.memory_t1(), labelled).total == pytest.approx(1.0)


def test_unlabelled_memory_rows_select_the_session_that_fits_the_time_range():
    row = memory(time_range=("2024-03-01", "2024-03-31"))
    assert json.loads(gold_completion(row)) == {"selected_memory": ["s3"], "answer": "B"}
    score = earned(presets.memory_t1(), row)
    assert score.total == pytest.approx(score.maximum)


def test_letters_are_one_answer_and_other_golds_are_alternatives():
    assert json.loads(gold_completion(memory(golds=["B", "C"])))["answer"] == ["B", "C"]
    assert json.loads(gold_completion(memory(kind="text", golds=["Porto", "Oporto"])))["answer"] == "Porto"


@pytest.mark.parametrize(
    ("context", "quote"),
    [
        (["A b c d e. The Douro flows through Porto. F g h i."], "The Douro flows through Porto."),
        (["Nothing of the kind here.", "It is the river douro!"], "It is the river douro!"),
        (["It is the Douro.", "The Douro flows through Porto."], "The Douro flows through Porto."),
        (["It is the Douro.", "Nothing of the kind here."], "Nothing of the kind here."),
        (["Yes. The Douro."], "Yes. The Douro."),
        (["Douro.", "Douro Douro Douro."], "Douro Douro Douro."),
        (["Some river. It is unnamed."], "Some river. It is unnamed."),
        (["word " * 300 + "Douro " + "word " * 300], None),
    ],
)
def test_unlabelled_rows_quote_the_sentence_that_holds_the_answer(context, quote):
    row = Sample(task="care", golds="Douro", context=context)
    spans = row.with_completion(gold_completion(row)).care.spans
    if quote is None:
        assert len(spans[0]) <= 200
        assert "Douro" in spans[0]
        assert spans[0] in context[0]
    else:
        assert spans == (quote,)
    assert earned(presets.care(), row).total == 1.0


@pytest.mark.parametrize(
    ("gold", "passage"),
    [
        ("G. Stanley Hall", "Psychology was young. It began with the work of G. Stanley Hall in 1904. He taught."),
        ("81", "In all 181 people came that year. Only 81 people stayed. The rest left."),
        ("new\u00a0york", "He saw much of the land. She lived  in New\nYork then. Nobody knows why."),
        (
            "word" + " word" * 50,
            "They all say that it is so, and it is " + "word " * 51 + "and so on, without an end" * 9,
        ),
    ],
    ids=["abbreviation", "inside a word", "white space and case", "long"],
)
def test_the_quote_holds_the_whole_answer(gold, passage):
    row = Sample(task="care", golds=gold, context=["Nothing of it is told here.", passage])
    (quote,) = row.with_completion(gold_completion(row)).care.spans
    assert quote in passage
    assert locate(gold, [Passage(quote)], threshold=1)
    assert len(quote) < max(60, len(gold) + 60)


def test_the_quote_says_something_besides_the_answer():
    row = Sample(task="care", golds="3 a.m.", context=["The bar is open from 2 p.m. to 3 a.m. Every night it is full."])
    (quote,) = row.with_completion(gold_completion(row)).care.spans
    assert quote == "to 3 a.m. Every night it is full."
    row = Sample(
        task="care", golds="The Big Old Tower", context=["The Big Old Tower", "He saw the Big Old Tower in Rome."]
    )
    (quote,) = row.with_completion(gold_completion(row)).care.spans
    assert quote == row.context[1].text


def test_without_golds_there_is_no_gold_output():
    with pytest.raises(RowError, match="row q1: has no golds"):
        gold_completion(Sample(id="q1"))


@pytest.mark.parametrize("name", ["care", "memory_t1"])
def test_scores_are_finite_and_never_above_the_maximum_whatever_the_text(name):
    preset = presets.PRESETS[name]()

    @settings(deadline=None, max_examples=80)
    @given(samples(name), completions(name))
    def check(sample, text):
        for row in (sample, sample.with_completion(text)):
            score = preset(row)
            assert score.total is not None
            # An unreadable Memory-T1 output earns -0.5, the worst readable one -0.35.
            low = 0.0 if name == "care" else -0.35 if row.memory.ok else -0.5
            assert low - 1e-9 <= score.total <= score.maximum + 1e-9

    check()
