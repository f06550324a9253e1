"""What a completion answers, in three forms; EM and F1 as the official scripts give them, on random and on real pairs."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RowError, Sample
from rlkit.errors import ConfigError
from rlkit.evaluation import metrics as registry
from rlkit.evaluation.metrics import METRICS, answer_form, final_answer, metrics_named
from rlkit.evaluation.metrics.answers import answer_items, em, f1, qa_f1
from tests.evaluation import official
from tests.evaluation.texts import TEXTS

CARE = "<think>See <retrieval>Lisbon is old.</retrieval></think> Answer: Lisbon"
MEMORY = '{"selected_memory": ["s1"], "answer": "Lisbon"}'


@pytest.mark.parametrize(
    ("completion", "form", "answer"),
    [
        (CARE, "care", "Lisbon"),
        (CARE + "<|im_end|>", "care", "Lisbon"),
        ("<think>Answer: Porto</think> First Answer: Rome, then Answer: Lisbon", "care", "Lisbon"),
        (MEMORY, "memory", "Lisbon"),
        (f"```json\n{MEMORY}\n```", "memory", "Lisbon"),
        ("Lisbon</s>", "plain", "Lisbon"),
        ("Answer: Lisbon", "plain", "Lisbon"),  # the prompt asks for the word, so it is no part of an answer
        ("It is Porto. Answer: Porto? No. Answer: Lisbon", "plain", "Lisbon"),
        ("Not sure. Answer:", "plain", ""),
        ("<think>Porto or Lisbon?</think>\n\nLisbon", "plain", "Lisbon"),  # a reasoning model without the format
        ("<think>never closed Lisbon", "plain", "<think>never closed Lisbon"),
        ("<think>x</think> Answer:", "care", ""),
        ("", "plain", ""),
    ],
)
def test_the_answer_of_each_form(completion, form, answer):
    sample = Sample(completion=completion)
    assert (answer_form(sample), final_answer(sample)) == (form, answer)


def test_the_format_of_the_rows_task_is_looked_for_first():
    both = f"<think>{MEMORY}</think> Answer: {MEMORY.replace('Lisbon', 'Porto')}"
    assert answer_form(Sample(task="memory_t1", completion=both)) == "memory"
    assert answer_form(Sample(task="care", completion=both)) == "care"
    assert final_answer(Sample(task="memory_t1", completion=both)) == "Porto"


def test_strict_takes_only_the_format_of_the_task():
    row = {"golds": "Lisbon", "task": "care"}
    for completion, expected in ((CARE, 1.0), (MEMORY, 0.0), ("Lisbon", 0.0)):
        sample = Sample.from_record(row, completion=completion)
        assert em(strict=True)(sample) == expected
        assert em()(sample) == 1.0
    assert em(strict=True)(Sample(task="memory_t1", golds="Lisbon", completion=MEMORY)) == 1.0


def test_a_list_in_json_keeps_its_items():
    sample = Sample(completion='{"selected_memory": [], "answer": ["B", "C"]}')
    assert (answer_items(sample), final_answer(sample)) == (("B", "C"), "B, C")


@settings(deadline=None, max_examples=400)
@given(TEXTS, TEXTS)
def test_f1_is_the_official_function_of_longbench(answer, gold):
    assert qa_f1(answer, gold) == official.longbench_qa_f1(answer, gold)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4))
def test_f1_takes_the_best_gold_as_longbench_does(answer, golds):
    sample = Sample(golds=golds, completion=f"<think></think> Answer: {answer}")
    assert f1()(sample) == official.longbench_score(final_answer(sample), golds)


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS.filter(official.squad_words))
def test_exact_match_is_squads_for_every_gold_that_says_something(answer, gold):
    sample = Sample(golds=gold, completion=f"<think></think> Answer: {answer}")
    assert em()(sample) == official.squad_exact_match(final_answer(sample), gold)


def test_a_gold_of_one_article_can_be_met_exactly_and_by_nothing_else():
    assert em()(Sample(golds="A", completion="A.")) == 1.0
    assert em()(Sample(golds="A", completion="")) == em()(Sample(golds="A", completion="the")) == 0.0
    assert f1()(Sample(golds="A", completion="A")) == 0.0  # the official function is that harsh


@pytest.mark.parametrize(
    ("layout", "name"),
    [("hotpotqa", "hotpotqa_distractor.json"), ("musique", "musique_ans.jsonl"), ("locomo", "locomo.json")],
)
def test_real_golds_and_answers_score_as_officially(real_records, layout, name):
    records = real_records(layout, name)
    answers = [record["golds"][0] for record in records]
    for shift in (0, 1, 7):  # its own gold, and others' as answers that are wrong or partly right
        for record, answer in zip(records, answers[shift:] + answers[:shift], strict=True):
            sample = Sample.from_record({**record, "sessions": []}, completion=answer)
            assert f1()(sample) == official.longbench_score(sample.completion, record["golds"])
            assert em()(sample) == max(official.squad_exact_match(sample.completion, gold) for gold in record["golds"])


@pytest.mark.parametrize("metric", [em(), f1()])
def test_a_row_without_golds_is_an_error_with_its_id(metric):
    with pytest.raises(RowError, match="row q7: has no golds"):
        metric(Sample(id="q7", completion="x"))


def test_every_metric_survives_pickling_and_says_its_config():
    for name, metric in METRICS.items():
        assert pickle.loads(pickle.dumps(metric)) == metric, name
    assert repr(metrics_named(["f1"], strict=True)["f1"]) == "f1(strict=True)"


def test_strict_reaches_every_metric_of_answers_and_no_other():
    strict = metrics_named(METRICS, strict=True)
    changed = {name for name in METRICS if strict[name] != METRICS[name]}
    answers = {"em", "f1", "locomo_f1", "time_dialog", "time_dialog_em"}
    assert changed == answers | {"factual_em", "counterfactual_em", "fidelity_gap", "prior_answers"}


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(ConfigError, match=r"metric 'evidence_belu' is unknown.*Did you mean 'evidence_bleu'"):
        metrics_named(["evidence_belu"])


def test_a_missing_package_is_named_before_anything_is_scored(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "sacrebleu" else object())
    with pytest.raises(ConfigError, match=r"needs sacrebleu: pip install \"grounded-rl\[eval\]\""):
        metrics_named(["em", "evidence_bleu"])
    assert metrics_named(["em", "f1"])


def test_the_forms_of_the_answers_add_up_to_all_rows():
    forms = [METRICS[f"form_{form}"] for form in ("care", "memory", "plain")]
    for completion in (CARE, MEMORY, "Lisbon", ""):
        assert sum(form(Sample(completion=completion)) for form in forms) == 1.0
    assert METRICS["format"](Sample(task="care", completion=CARE)) == 1.0
    assert METRICS["format"](Sample(task="memory_t1", completion=CARE)) == 0.0


def test_ten_thousand_answers_are_scored_in_a_tenth_of_a_minute():
    names = ("em", "f1", "locomo_f1", "format", "form_care", "form_memory", "form_plain")
    chosen = metrics_named(names).values()
    rows = [{"id": str(i), "golds": [f"Lisbon {i}", "Porto"], "category": 4, "task": "care"} for i in range(10_000)]
    METRICS["locomo_f1"](Sample.from_record(rows[0], completion=CARE))  # loads the stemmer
    start = time.process_time()
    for row in rows:
        sample = Sample.from_record(row, completion=CARE)
        for metric in chosen:
            metric(sample)
    assert time.process_time() - start < 6
