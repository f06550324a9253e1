"""The parts that an ablation gets wrong on purpose are wrong in the way that they say."""

from __future__ import annotations

import json

import pytest

from rewards import Sample, presets
from rewards.temporal import temporal_consistency
from rewards.testing import check_reward
from rlkit.ablation.parts import loose_quotes, random_accuracy, session_level, utterance_level
from rlkit.data.dialogues import generate


def test_random_accuracy_knows_nothing_but_is_the_same_everywhere():
    samples = [Sample(id=str(n), completion=f"Answer: {n % 7}", golds="3") for n in range(2000)]
    values = [random_accuracy(sample) for sample in samples]
    assert values == [random_accuracy(sample) for sample in samples]
    right = [value for sample, value in zip(samples, values, strict=True) if sample.completion.endswith("3")]
    assert 0.45 < sum(values) / len(values) < 0.55
    assert 0.4 < sum(right) / len(right) < 0.6


def test_loose_quotes_pay_what_the_care_preset_does_not():
    row = Sample(question="Who wrote Emma?", context=["Emma is an 1815 novel by Jane Austen."], golds="Jane Austen")
    for span in ("a", "Who wrote Emma?", "Emma is an 1815 novel by Jane Austen."):
        said = row.with_completion(f"<think><retrieval>{span}</retrieval></think> Answer: x")
        assert loose_quotes(said) == 1.0
    assert loose_quotes(row.with_completion("Answer: x")) == 0.2
    cheap = row.with_completion("<think><retrieval>a</retrieval></think> Answer: x")
    assert presets.care()(cheap).parts["grounding"] == 0.0


def test_the_two_levels_together_are_the_whole():
    """On sessions with an event that concerns the question R_t is the mean of its halves."""
    whole = temporal_consistency()
    compared = 0
    for record in generate("hard", rows=60, seed=2):
        for session in record["sessions"]:
            said = json.dumps({"selected_memory": [session["id"]], "answer": "x"})
            sample = Sample.from_record(record, completion=said)
            (judged,) = whole.judged(sample)
            assert session_level(sample) == judged.when
            if judged.events:
                assert (session_level(sample) + utterance_level(sample)) / 2 == pytest.approx(whole(sample))
                compared += session_level(sample) != utterance_level(sample)
    assert compared > 10


@pytest.mark.parametrize("part", [session_level, utterance_level])
def test_levels_keep_the_laws_of_a_reward(part):
    check_reward(part, task="memory_t1")
