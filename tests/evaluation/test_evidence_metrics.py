"""Quotes against labelled facts and sessions against labelled ones: as the libraries score them, and what does not apply."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from rewards import Sample, fact_coverage
from rlkit.evaluation.controls import gold
from rlkit.evaluation.metrics import METRICS
from rlkit.evaluation.metrics.evidence import MAX_WORDS, quoted_text

BLEU, CORPUS_BLEU, ROUGE = (METRICS[name] for name in ("evidence_bleu", "evidence_bleu_corpus", "evidence_rouge_l"))
FACTS = ["Ada hired Leo in 1815.", "Leo visited Fenwick, a town."]
ROW = Sample(context=[" ".join(FACTS) + " Nobody saw it."], evidence=FACTS, golds="Fenwick")
PHRASES = st.lists(
    st.sampled_from(["Ada", "hired", "Leo", "in", "1815", ".", "visited", "Fenwick,", "town", "é", "the"]),
    min_size=1,
    max_size=12,
)


def quoting(*spans):
    tagged = " ".join(f"<retrieval>{span}</retrieval>" for span in spans)
    return ROW.with_completion(f"<think>{tagged}</think> Answer: Fenwick")


@settings(deadline=None, max_examples=100)
@given(st.lists(PHRASES.map(" ".join), min_size=1, max_size=3))
def test_bleu_and_rouge_are_the_libraries_own(spans):
    sample = quoting(*spans)
    quoted, facts = " ".join(dict.fromkeys(spans)), " ".join(FACTS)
    assert BLEU(sample) == pytest.approx(sacrebleu.sentence_bleu(quoted, [facts]).score / 100, abs=1e-12)
    assert ROUGE(sample) == pytest.approx(RougeScorer(["rougeL"]).score(facts, quoted)["rougeL"].fmeasure, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(PHRASES.map(" ".join), min_size=1, max_size=6))
def test_the_sums_of_rows_give_corpus_bleu(quotes):
    counts = np.sum([CORPUS_BLEU(quoting(quote)) for quote in quotes], axis=0)
    expected = sacrebleu.corpus_bleu(quotes, [[" ".join(FACTS)] * len(quotes)]).score / 100
    assert CORPUS_BLEU.figure(counts) == pytest.approx(expected, abs=1e-12)


def test_verbatim_facts_score_one_and_no_quote_scores_nothing():
    for metric in (BLEU, ROUGE):
        assert metric(quoting(*FACTS)) == pytest.approx(1.0)
        assert metric(quoting()) == metric(ROW.with_completion("Fenwick")) == 0.0
    assert CORPUS_BLEU.figure(CORPUS_BLEU(quoting(*FACTS))) == 1.0
    assert CORPUS_BLEU.figure(CORPUS_BLEU(quoting())) == 0.0


def test_a_repeated_quote_counts_once_and_more_than_the_facts_costs():
    assert ROUGE(quoting(*FACTS, FACTS[0])) == ROUGE(quoting(*FACTS))
    assert ROUGE(quoting(*FACTS, "Nobody saw it.")) < 1.0
    assert BLEU(quoting(*FACTS, "Nobody saw it.")) < 1.0


@pytest.mark.parametrize(
    "row",
    [
        Sample(context=["x y"], golds="x"),  # nothing is labelled
        Sample(
            evidence=["session_1"], sessions=[{"id": "session_1"}], task="memory_t1", golds="x"
        ),  # sessions are no facts
        Sample(evidence=["x"], golds="x"),  # no passages to quote
    ],
)
@pytest.mark.parametrize("name", [name for name in METRICS if name.startswith("evidence")])
def test_rows_without_labelled_facts_are_left_out(name, row):
    assert METRICS[name](row.with_completion("<think><retrieval>x</retrieval></think> Answer: x")) is None


def test_a_megabyte_of_quotes_is_cut_to_a_bounded_number_of_words():
    sample = quoting(*("spam " * 30_000 for _ in range(3)), *(f"w{i}" for i in range(100_000)))
    assert len(quoted_text(sample).split()) == MAX_WORDS
    assert BLEU(sample) < 0.01
    assert ROUGE(sample) == 0.0


@pytest.mark.parametrize(
    ("layout", "name"), [("hotpotqa", "hotpotqa_distractor.json"), ("musique", "musique_ans.jsonl")]
)
def test_the_gold_quotes_of_real_rows_score_one_everywhere(real_records, layout, name):
    for record in real_records(layout, name):
        sample = Sample.from_record(record, completion=gold(record))
        assert all(METRICS[f"evidence_{part}"](sample) == 1.0 for part in ("precision", "recall", "f1"))
        assert BLEU(sample) == pytest.approx(1.0)
        assert ROUGE(sample) == pytest.approx(1.0)


def test_facts_are_the_rewards_own_measures_whatever_was_asked_before():
    samples = [quoting(*spans) for spans in (FACTS, FACTS[:1], ["Nobody saw it.", FACTS[1]], ["made up words"], [])]
    elsewhere = Sample(context=[FACTS[1]], evidence=FACTS[1:], completion=samples[0].completion)
    for measure in ("recall", "f1", "precision"):
        for sample in [*samples, *reversed(samples), elsewhere]:
            assert METRICS[f"evidence_{measure}"](sample) == fact_coverage(measure)(sample)


def test_quotes_are_looked_up_once_for_all_three_measures(monkeypatch):
    looked_up = []
    judged = fact_coverage.judged
    monkeypatch.setattr(fact_coverage, "judged", lambda part, sample: looked_up.append(sample) or judged(part, sample))
    sample = quoting(FACTS[0])
    assert [METRICS[f"evidence_{measure}"](sample) for measure in ("precision", "recall", "f1")] == [1.0, 0.5, 2 / 3]
    assert looked_up == [sample]


def selecting(*names, evidence=("session_1", "session_2")):
    output = json.dumps({"selected_memory": list(names), "answer": "B"})
    return Sample(task="memory_t1", evidence=evidence, golds="B", completion=output)


@pytest.mark.parametrize(
    ("names", "jaccard", "precision", "recall"),
    [
        (["session_1", "session_2"], 1.0, 1.0, 1.0),
        (["<session_1>", "session_1"], 0.5, 1.0, 0.5),
        (["session_1", "session_9"], 1 / 3, 0.5, 0.5),
        (["session_9"], 0.0, 0.0, 0.0),
        ([], 0.0, 0.0, 0.0),
    ],
)
def test_selected_sessions(names, jaccard, precision, recall):
    values = [METRICS[f"session_{part}"](selecting(*names)) for part in ("jaccard", "precision", "recall")]
    assert values == [pytest.approx(jaccard), precision, recall]


def test_an_unreadable_selection_is_none_of_the_sessions_and_unlabelled_rows_are_left_out():
    broken = Sample(task="memory_t1", evidence=["session_1"], golds="B", completion="session_1: B")
    assert [METRICS[f"session_{part}"](broken) for part in ("jaccard", "precision", "recall")] == [0.0] * 3
    assert METRICS["session_recall"](selecting("session_1", evidence=())) is None
    assert METRICS["session_recall"](quoting(*FACTS)) is None


def test_an_unreadable_output_has_the_least_temporal_consistency():
    row = {
        "task": "memory_t1",
        "golds": "B",
        "time_range": ["2024-03-01", None],
        "sessions": [{"id": "s1", "date": "2024-03-05"}],
    }
    temporal = METRICS["temporal"]
    assert temporal(Sample.from_record(row, completion='{"selected_memory": ["s1"], "answer": "B"}')) == 1.0
    assert temporal(Sample.from_record(row, completion="no JSON")) == temporal.bounds[0] == -0.75
    assert temporal(Sample.from_record({**row, "time_range": None}, completion="no JSON")) is None
