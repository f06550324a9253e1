"""One logged completion for a report: whatever a model says, the line is read, explained and packed, with the scorer's values."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewards import Sample, presets
from rewards.testing import samples
from rlkit.reporting.items import item_of

REWARDS = {task: presets.PRESETS[task]() for task in ("care", "memory_t1")}


def line_of(sample: Sample) -> dict:
    """The line as it comes back from samples.jsonl."""
    score = REWARDS[sample.task](sample)
    row = {name: value for name, value in asdict(sample).items() if value and name not in ("columns", "prompt")}
    earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
    return json.loads(json.dumps({**row, "step": 3, "score": earned}))


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(st.one_of(samples("care"), samples("memory_t1")))
def test_every_line_is_packed_with_its_values(sample: Sample) -> None:
    line = line_of(sample)
    item = item_of(line, REWARDS[sample.task])
    told, row = json.loads(item.told), json.loads(item.row)
    assert {name: value for name, value, *_ in told["parts"]} == line["score"]["parts"]
    assert not any("was logged as" in reason for *_, reasons in told["parts"] for reason in reasons)
    for start, end, *_ in told.get("quotes", []):
        assert 0 <= start <= end <= len(item.text)
    assert row["question"] == sample.question
    assert len(row.get("sessions", [])) == len(sample.sessions)
    assert item_of(line, REWARDS[sample.task], {item.key}).row is None  # it is stored once
    bare = item_of(line, None)  # quotes and facts are marked without the reward as well
    assert "parts" not in json.loads(bare.told)
    assert (json.loads(bare.told).get("quotes") is None) == (told.get("quotes") is None)
    assert (bare.key, bare.text, bare.total) == (item.key, item.text, item.total)


def test_dates_that_cannot_be_read_are_shown_as_they_are() -> None:
    sessions = [{"id": "s1", "date": "some day", "utterances": [{"text": "Hi", "time": "noonish", "events": [{"summary": "e", "start": "soon"}]}]}]  # fmt: skip
    line = {"task": "memory_t1", "kind": "text", "golds": ["x"], "sessions": sessions, "time_range": ["2024-03-01", None],
            "completion": '{"selected_memory": ["s1"], "answer": "x"}', "score": {"total": 0.6, "maximum": 1.0, "parts": {"accuracy": 1.0}}}  # fmt: skip
    item = item_of(line, REWARDS["memory_t1"])
    session = json.loads(item.row)["sessions"][0]
    assert session["date"] == ["some day"]
    assert session["said"][0][3] == [["e", ["soon"], None, None]]


@pytest.mark.parametrize("line", [{}, {"completion": "x"}, {"completion": "x", "score": None, "step": None}])
def test_a_bare_line_is_shown(line: dict) -> None:
    item = item_of(line, REWARDS["care"])
    assert (item.total, item.step) == (None, 0)


def test_parts_that_the_config_does_not_name_are_told_apart() -> None:
    score = {"total": 1.0, "maximum": 1.0, "parts": {"format": 0.0, "letters": 0.25}}
    told = json.loads(item_of({"completion": "x", "score": score}, REWARDS["care"]).told)
    assert [part[0] for part in told["parts"]] == ["format"]
    assert "logged besides what is shown: letters 0.25" in told["problem"]
    told = json.loads(
        item_of({"completion": "x", "score": {**score, "parts": {"letters": 0.25}}}, REWARDS["care"]).told
    )
    assert told.keys() == {"problem"}
