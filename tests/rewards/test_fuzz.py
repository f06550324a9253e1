"""A few thousand of the hostile completions of which `benchmarks/fuzz.py` makes a million, and that it finds what it looks for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rewards import Sample, weighted

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import fuzz


def test_hostile_completions_break_nothing() -> None:
    result = fuzz.run_random(3000, seed=1)
    assert result["count"] == 3000
    worst, over = fuzz.slower_than_linear([*result["timed"][:2], *result["timed"][-2:]])
    assert over == []
    assert worst > 0


def test_the_grammar_reaches_what_can_be_read_and_what_cannot() -> None:
    import random

    draw, rows = random.Random(2).randrange, fuzz.rows()
    samples = [row.with_completion(fuzz.build(draw, row)) for _ in range(60) for row in rows]
    care = [not sample.care.problems for sample in samples if sample.task == "care"]
    memory = [sample.memory.ok for sample in samples if sample.task == "memory_t1"]
    for readable in (care, memory):
        assert 0.05 < sum(readable) / len(readable) < 0.5


def raises(sample: Sample) -> float:
    return 1 / (len(sample.completion) % 7)


def beyond(sample: Sample) -> float:
    return 1.0 + sample.completion.count("7")


@pytest.mark.parametrize(("part", "told"), [(raises, "ZeroDivisionError"), (beyond, "but its bounds are 0.0 and 1.0")])
def test_a_part_that_breaks_a_rule_is_found(part: object, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CARE", weighted(part=(1.0, part)))
    with pytest.raises(fuzz.Finding, match=told):
        fuzz.run_random(500, seed=3)


def slow(sample: Sample) -> float:
    text = sample.completion
    return float(sum(text[i:].count("zq") for i in range(0, len(text), 10)) < 0)


def test_a_part_that_is_slower_than_linear_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "CARE", weighted(slow=(1.0, slow)))
    monkeypatch.setattr(fuzz, "MIN_TIMED_CHARACTERS", 5_000)
    _, over = fuzz.slower_than_linear([(0, "abc " * 50)])
    assert over


def test_objects_that_are_broken_one_after_the_other_are_read_in_linear_time() -> None:
    """Each cost a look at all text before it, to say in which line it stands, so that 16 times the text took 100 times as long."""
    row = next(index for index, row in enumerate(fuzz.rows()) if row.task == "memory_t1")
    broken = '{"selected_memory": ["session_2"], "answ}er": "' + "not " * 300
    worst, over = fuzz.slower_than_linear([(row, broken)])
    assert over == [], worst


def test_what_is_timed_is_the_slowest_and_a_sample_of_all() -> None:
    timed = fuzz.run_random(fuzz.SAMPLED * 3, seed=4)["timed"]
    assert len(timed) == fuzz.SLOWEST + fuzz.SAMPLED
    assert len({text for _, text in timed[fuzz.SLOWEST :]}) > fuzz.SAMPLED / 2
