"""Time-Dialog's scores: what the real gold answers get, by our rule and by the released script, and the rule of each kind."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from rewards import RowError, Sample
from rlkit.data.time_dialog import KINDS
from rlkit.evaluation.metrics.time_dialog import time_dialog, time_dialog_em
from tests.evaluation import official

GRADED, EXACT = time_dialog(), time_dialog_em()


def as_json(answer):
    return json.dumps({"selected_memory": ["session_1"], "answer": answer})


def of(kind, gold, answer):
    return Sample(task="memory_t1", kind=kind, golds=gold, completion=as_json(answer))


def real_row(question, completion):
    return Sample(
        id=question["question_id"],
        task="memory_t1",
        kind=KINDS[question["task"]],
        golds=question["gold_answer"],
        completion=completion,
    )


@pytest.mark.parametrize("written", [as_json, str, "<think></think> Answer: {}".format])
def test_all_120_real_golds_score_exactly_one_in_every_form(outputs, written):
    assert len(outputs) == 120
    for question in outputs:
        sample = real_row(question, written(question["gold_answer"]))
        assert (GRADED(sample), EXACT(sample)) == (1.0, 1.0), question["question_id"]


def test_the_released_script_gives_gold_answers_of_several_letters_less(outputs):
    scores = {q["gold_answer"]: official.released_time_dialog(q["gold_answer"], q["gold_answer"]) for q in outputs}
    assert {gold: score for gold, score in scores.items() if score != (1.0, 1)} == {"B  C": (pytest.approx(2 / 3), 0)}


def test_the_released_script_takes_any_order_for_right(outputs):
    orders = [question for question in outputs if question["task"] == "Timeline"]
    for question in orders:
        gold = question["gold_answer"]
        turned = gold[3:] + gold[:3]
        assert official.released_time_dialog(turned, gold) == (1.0, 1)
        assert GRADED(real_row(question, as_json(turned))) < 0.5


def test_real_outputs_score_between_nothing_and_everything_in_every_task(outputs):
    by_task = defaultdict(list)
    for question in outputs:
        for column in ("full_prompt_output", "bm25_output"):
            sample = real_row(question, question[column])
            graded, exact = GRADED(sample), EXACT(sample)
            assert 0.0 <= exact <= graded <= 1.0
            by_task[question["task"]].append(graded)
    assert set(by_task) == set(KINDS)
    assert all(sum(values) / len(values) < 0.7 for values in by_task.values())
    # What the rules above add up to on these outputs, so that a change of any of them shows.
    assert sum(map(sum, by_task.values())) == pytest.approx(65.656, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "gold", "answer", "graded", "exact"),
    [
        ("choice", "B  C", "B  C", 1.0, 1.0),
        ("choice", "B  C", "C, B", 1.0, 1.0),
        ("choice", "B  C", ["C", "B"], 1.0, 1.0),
        ("choice", "B  C", "B", 2 / 3, 0.0),
        ("choice", "B", "A B C D", 2 / 5, 0.0),
        ("choice", "B", "C", 0.0, 0.0),
        ("choice", "B", "I do not know", 0.0, 0.0),
        ("time", "May 16, 2023", "2023-05-16", 1.0, 1.0),
        ("time", "8:03 pm, May 16, 2022", "May 16, 2022", 0.0, 0.0),
        ("duration", "22 days 12 hours", "540 hours", 1.0, 1.0),
        ("duration", "2 days 3 hours", "2 days", 2 / 3, 0.0),
        ("duration", "2 days 3 hours", "I do not know", 0.0, 0.0),
        ("order", "(1)(5)(2)(3)", "(1)(5)(3)(2)", 0.5, 0.0),
        ("order", "(1)(5)(2)(3)", "(1)", 0.25, 0.0),
        ("text", "a red bike", "red bike", 1.0, 1.0),
        ("text", "a red bike", "red car", 0.5, 0.0),
    ],
)
def test_the_rule_of_each_kind(kind, gold, answer, graded, exact):
    sample = of(kind, gold, answer)
    assert (GRADED(sample), EXACT(sample)) == (pytest.approx(graded), exact)


def test_the_best_of_several_golds_counts_and_single_letters_are_one_answer():
    assert GRADED(of("duration", ["3 days", "2 days"], "2 days")) == 1.0
    assert GRADED(of("choice", ["B", "C"], "B")) == pytest.approx(2 / 3)
    assert GRADED(of("choice", ["B C", "D"], "D")) == 1.0


def test_an_unreadable_or_empty_answer_is_wrong_and_not_left_out():
    for completion in ("", as_json(""), '{"selected_memory": ["s1"], "ans', "<think></think> Answer:"):
        sample = Sample(task="memory_t1", kind="choice", golds="B", completion=completion)
        assert (GRADED(sample), EXACT(sample)) == (0.0, 0.0)


def test_strict_wants_json_where_the_row_does():
    sample = Sample(task="memory_t1", kind="choice", golds="B", completion="B")
    assert (GRADED(sample), time_dialog(strict=True)(sample)) == (1.0, 0.0)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(RowError, match="its kind is 'choise'"):
        GRADED(of("choise", "B", "B"))
