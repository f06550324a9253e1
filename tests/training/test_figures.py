"""What one batch shows in numbers."""

from __future__ import annotations

from typing import Any

import pytest

from rewards import Sample, presets
from rlkit.training.figures import MAX_TEXT_CHARACTERS, Seen, correctness, figures, measure_of, seen, telling, top_quote

MEASURE = measure_of(None)


def care(row: str, quote: str, answer: str, *, context: str | None = None) -> Seen:
    text = context or f"{row} is a town. It lies far away."
    sample = Sample(
        id=row, task="care", source="s", question="Which?", context=[text], golds=["right"],
        completion=f"<think><retrieval>{quote}</retrieval></think> Answer: {answer}",
    )  # fmt: skip
    return seen(sample, presets.care()(sample), correctness(MEASURE, sample))


def test_figures_of_a_batch() -> None:
    batch = [care("Ulm", "Ulm is a town.", "right"), care("Ulm", "Ulm is a town.", "wrong"),
             care("Rome", "It lies far away.", "wrong"), care("Rome", "It lies far away.", "false")]  # fmt: skip
    found = figures(batch, generations=2)
    assert found["watch/correct"] == 0.25
    assert found["watch/well_formed"] == 1.0
    assert found["watch/equal_groups"] == 0.5
    assert found["watch/group_spread"] == pytest.approx(0.35 / 2)
    assert found["watch/shortfall"] == pytest.approx(0.7 * 0.75)
    assert found["watch/words"] == 6.0
    assert found["watch/repeated_quote"] == 0.0
    lengths = [
        len("Ulm is a town.") / len("Ulm is a town. It lies far away."),
        len("It lies far away.") / len("Rome is a town. It lies far away."),
    ]
    assert found["watch/evidence_share"] == pytest.approx(sum(lengths) / 2)


def test_a_held_out_batch_has_no_groups() -> None:
    found = figures([care("Ulm", "Ulm is a town.", "right")], generations=1)
    assert "watch/equal_groups" not in found
    assert "watch/repeated_quote" not in found  # one context says nothing


def test_a_quote_repeats_in_other_contexts_and_not_in_its_own_group() -> None:
    own = [care(row, f"{row} is a town.", "x") for row in ("Ulm", "Ulm", "Rome", "Bonn")]
    assert top_quote(own)[1] == 0.0
    three = [care(row, "It  lies far\naway.", "x") for row in ("Ulm", "Rome")] + [care("Bonn", "Bonn is a town.", "x")]
    assert top_quote(three)[1] == 0.5
    assert top_quote([care(row, "it lies far away.", "x") for row in ("Ulm", "Rome", "Bonn")])[1] == 1.0
    shared = "One text for all questions."
    assert top_quote([care(row, shared, "x", context=shared) for row in ("a", "b")]) == (None, None)


def memory(completion: str, **fields: Any) -> Sample:
    sessions = [{"id": f"s{number}", "date": "2024-03-05", "utterances": []} for number in range(1, 5)]
    return Sample(
        task="memory_t1", id="m", kind="choice", golds="B", sessions=sessions, completion=completion, **fields
    )


def test_memory_rows_count_the_sessions_that_are_selected() -> None:
    sample = memory('{"selected_memory": ["s1", "s2", "s9"], "answer": "B"}', evidence=["s1"])
    kept = seen(sample, presets.memory_t1()(sample), correctness(MEASURE, sample))
    assert (kept.evidence_share, kept.well_formed, kept.correct, kept.quotes) == (0.5, True, 1.0, ())


def test_what_cannot_be_read_is_wrong_and_what_has_no_gold_is_not_judged() -> None:
    assert correctness(MEASURE, memory("B")) == 0.0
    assert correctness(MEASURE, Sample(task="care", completion="Answer: x")) is None
    assert correctness(
        measure_of({"use": "token_f1"}), Sample(golds="x y", completion="</think>Answer: x")
    ) == pytest.approx(2 / 3)


def test_hostile_text_is_kept_short() -> None:
    sample = Sample(task="care", id="long", golds="x", context=["\ud800 text"],
                    completion="<think>" + "".join(f"<retrieval>{i}</retrieval>" for i in range(5000)) + "</think>")  # fmt: skip
    kept = seen(sample, presets.care()(sample), None)
    assert len(kept.quotes) <= 32
    assert len(kept.completion) == MAX_TEXT_CHARACTERS


def test_three_telling_completions_of_different_rows() -> None:
    batch = [care("Ulm", "Ulm is a town.", "right"), care("Ulm", "Ulm is a town.", "wrong"), care("Rome", "Rome is a town.", "wrong"),
             care("Bonn", "no such words here", "wrong"), care("Kiel", "Kiel is a town. It lies far away.", "wrong " * 50)]  # fmt: skip
    paid = telling(batch, "reward_without_correctness")
    assert [each.id for each in paid] == ["Ulm", "Rome", "Kiel"]
    assert all(each.correct == 0.0 for each in paid)
    assert telling(batch, "length_drift")[0].id == "Kiel"
    assert len(telling(batch[:2], "group_collapse")) == 2
