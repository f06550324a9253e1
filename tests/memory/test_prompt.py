"""The memory prompt: nothing the model needs is missing, nothing it must not see is there, and its format earns all."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings

from rewards import Sample, presets
from rewards.answers import temporal_answer
from rewards.gold import gold_completion
from rewards.parse_memory import parse_memory
from rewards.strategies import samples
from rlkit.memory.prompt import MEMORY_SYSTEM, session_text, written_date
from rlkit.prompts import chat_prompt

EVENT = {"summary": "Ann adopts a dog", "start": "2024-02-27", "end": None}
SESSION = {
    "id": "session_3",
    "date": "2024-03-05T09:00:00",
    "utterances": [
        {"speaker": "Ann", "text": "I got a dog last week!", "time": "2024-03-05T09:00:00", "events": [EVENT]},
        {"speaker": "Bob", "text": "Lovely.", "time": "2024-03-05T09:02:30", "events": []},
        {"speaker": "Ann", "text": "Good night.", "time": "2024-03-06T00:01:00", "events": []},
    ],
}


def test_a_session_stands_with_id_dates_times_and_speakers_and_without_its_labels() -> None:
    assert session_text(SESSION) == (
        "session_3 (2024-03-05 09:00, Tuesday)\n"
        "Ann: I got a dog last week!\n"
        "[09:02:30] Bob: Lovely.\n"
        "[2024-03-06 00:01, Wednesday] Ann: Good night."
    )


def test_what_is_not_known_of_a_session_is_said_or_left_out() -> None:
    bare: dict[str, Any] = {
        "id": "s",
        "date": None,
        "utterances": [{"speaker": "", "text": "Hm.", "time": "2024-03-05"}],
    }
    assert session_text(bare) == "s (no date)\n[2024-03-05, Tuesday] Hm."
    assert session_text({"id": "s", "date": "some day", "utterances": None}) == "s (some day)"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024", "2024"),
        ("2024-02", "2024-02"),
        ("2024-2-9", "2024-02-09, Friday"),
        ("1:56 pm on 8 May, 2023", "2023-05-08 13:56, Monday"),
        ("2024-02-09T00:00:00Z", "2024-02-09 00:00, Friday"),
    ],
)
def test_dates_are_written_in_one_way_with_what_they_say(text: str, written: str) -> None:
    assert written_date(text) == written


def test_the_messages_hold_the_format_the_sessions_the_question_and_when_it_was_asked() -> None:
    row = {"task": "memory_t1", "question": "When?", "asked_at": "2024-05-01T10:00:00", "sessions": [SESSION]}
    system, user = chat_prompt(row)
    assert system == {"role": "system", "content": MEMORY_SYSTEM}
    assert user["content"] == f"{session_text(SESSION)}\n\nQuestion: When?\nAsked at: 2024-05-01 10:00, Wednesday"
    assert chat_prompt({**row, "asked_at": None}, system=None)[0]["content"].endswith("\n\nQuestion: When?")
    # No label and no clock of the machine: the same row gives the same text, whatever its golds.
    labelled = {
        **row,
        "golds": ["secret"],
        "evidence": ["session_9"],
        "time_range": ["1999-01-01", None],
        "kind": "time",
    }
    assert chat_prompt(labelled) == [system, user]


def test_the_example_in_the_instructions_is_an_output_that_can_be_read() -> None:
    example = parse_memory(MEMORY_SYSTEM)
    assert (example.selected, example.answer) == (("session_1",), "B")


@pytest.mark.parametrize(
    ("line", "kind", "golds"),
    [
        ("options", "choice", ["B", "C  A"]),
        ("time", "time", ["2023-05", "2024-01-15", "2024-01-15T22:45:00"]),
        ("duration", "duration", ["17 days"]),
        ("order", "order", ["2 1 3"]),
    ],
)
def test_the_answer_formats_of_the_instructions_are_those_that_are_graded(
    line: str, kind: str, golds: list[str]
) -> None:
    told = next(text for text in MEMORY_SYSTEM.splitlines() if re.match(rf"- (?:an? )?{line}", text))
    examples = re.findall(r'"([^"]+)"', told)
    assert len(examples) == len(golds)
    for answer, gold in zip(examples, golds, strict=True):
        completion = json.dumps({"selected_memory": [], "answer": answer})
        assert temporal_answer()(Sample(kind=kind, golds=gold, completion=completion)) == 1.0


@settings(deadline=None, max_examples=50)
@given(samples("memory_t1"))
def test_gold_in_this_format_earns_the_maximum_of_a_generated_memory(row: Sample) -> None:
    reward = presets.memory_t1()
    gold = gold_completion(row)
    assert set(json.loads(gold)) == set(json.loads(MEMORY_SYSTEM.splitlines()[1]))
    parts = reward(row.with_completion(gold)).parts
    assert parts["format"] == 0.0
    assert parts["accuracy"] == 1.0
    assert parts["evidence"] in (None, 1.0)
    inside = [s.id for s in row.sessions if not s.utterances and (s.date or "") >= "2024-06-01"]
    if inside:  # a memory whose labels agree with each other: its gold sessions lie in its range
        row = Sample(**{**vars(row), "evidence": inside, "time_range": ("2024-06-01", None)})
        score = reward(row.with_completion(gold_completion(row)))
        assert score.total == score.maximum == 1.0
