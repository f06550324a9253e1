from __future__ import annotations

import json
from collections import Counter

import pytest

from rewards import Sample, presets
from rewards.gold import gold_completion
from rlkit.data.layout import Report
from rlkit.data.load import load_source
from rlkit.data.locomo import NOT_THERE, records
from rlkit.errors import DataError


def turn(number, text, **keys):
    return {"speaker": "Ann", "dia_id": f"D1:{number}", "text": text, **keys}


CONVERSATION = {
    "speaker_a": "Ann",
    "speaker_b": "Ben",
    "session_2_date_time": "12:05 am on 2 January, 2024",
    "session_2": [turn(1, "Happy new year!")],
    "session_10_date_time": "some day",
    "session_10": [turn(1, "Long ago.")],
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
        turn(1, "Look!", blip_caption="a photo of a dog", img_url=["https://example.org"]),
        turn(2, "Nice. "),
    ],
    "session_11_date_time": "3:00 pm on 9 June, 2024",
    "session_12_date_time": None,  # as a table fills up columns that a conversation does not have
    "session_12": None,
}


def question(**keys):
    return {"question": "What does Ann show? ", "answer": "a dog", "evidence": ["D1:1"], "category": 4, **keys}


def read(*questions):
    report = Report()
    row = {"sample_id": "conv-1", "conversation": CONVERSATION, "qa": list(questions)}
    return list(records(row, report, "file: row 1")), report


def noted(report):
    return {
        oddity: count.rows for oddity, count in report.noted.items() if oddity.startswith(("evidence", "the", "an"))
    }


def test_a_record_holds_the_whole_conversation_in_order():
    (record,), _ = read(question())
    said = {"speaker": "Ann", "time": None, "events": []}
    assert record == {
        "id": "conv-1-0",
        "task": "memory_t1",
        "kind": "text",
        "question": "What does Ann show?",
        "context": [],
        "golds": ["a dog"],
        "evidence": ["session_1"],
        "source": "locomo",
        "memory": "conv-1",
        "subtask": "single_hop",
        "category": 4,
        "turns": ["D1:1"],
        "sessions": [
            {
                "id": "session_1",
                "date": "2023-05-08T13:56:00",
                "utterances": [
                    {**said, "text": "Look! [and shared a photo of a dog]"},
                    {**said, "text": "Nice."},
                ],
            },
            {"id": "session_2", "date": "2024-01-02T00:05:00", "utterances": [{**said, "text": "Happy new year!"}]},
            {"id": "session_10", "date": None, "utterances": [{**said, "text": "Long ago."}]},
        ],
    }


def test_dates_without_a_session_or_without_a_meaning_are_counted_once_a_conversation():
    _, report = read(question(), question())
    assert {oddity: count.examples for oddity, count in report.noted.items()} == {
        "a session without a date that can be read": ["conv-1/session_10"],
        "a date without a session": ["conv-1/session_11"],
    }


@pytest.mark.parametrize(
    ("evidence", "sessions", "turns", "oddities"),
    [
        (["D1:2", "D1:1"], ["session_1"], ["D1:2", "D1:1"], {}),
        (["D1:1; D2:1"], ["session_1", "session_2"], ["D1:1", "D2:1"], {"evidence: several turns in one string": 1}),
        (["D2:1 D10:1"], ["session_2", "session_10"], ["D2:1", "D10:1"], {"evidence: several turns in one string": 1}),
        (["D"], [], [], {"evidence: names no turn": 1}),
        (["D:10:1"], ["session_10"], ["D10:1"], {"evidence: a turn in another spelling": 1}),
        (["D2:01"], ["session_2"], ["D2:1"], {"evidence: a turn in another spelling": 1}),
        (
            ["D1:9", "D2:0"],
            ["session_1", "session_2"],
            ["D1:9", "D2:0"],
            {"evidence: no such turn, its session is kept": 2},
        ),
        (["D7:1", "D11:1"], [], ["D7:1", "D11:1"], {"evidence: no such session, left out": 2}),
        ([], [], [], {"evidence: the list is empty": 1}),
        (None, [], [], {"evidence: the list is empty": 1}),
    ],
)
def test_evidence(evidence, sessions, turns, oddities):
    (record,), report = read(question(evidence=evidence))
    assert (record["evidence"], record["turns"], noted(report)) == (sessions, turns, oddities)


def test_answers_that_are_numbers_become_text_and_are_counted():
    (record,), report = read(question(answer=2022))
    assert (record["golds"], noted(report)) == (["2022"], {"the answer is a number": 1})


def test_the_gold_of_an_adversarial_question_says_that_the_information_is_not_there():
    lured = {"question": "?", "evidence": ["D1:1"], "category": 5, "adversarial_answer": "a cat"}
    (without, own), report = read(lured, {**lured, "answer": "No"})
    assert without["golds"] == list(NOT_THERE)
    assert (without["subtask"], without["adversarial_answer"]) == ("adversarial", "a cat")
    assert own["golds"] == ["No", *NOT_THERE]
    assert report.noted["an adversarial question with an answer of its own"].examples == ["conv-1-1"]
    sample = Sample.from_record(without, completion=json.dumps({"selected_memory": ["session_1"], "answer": "a cat"}))
    assert presets.memory_t1()(sample).parts["accuracy"] == 0


def test_what_cannot_be_used_is_dropped_and_counted():
    kept, report = read(question(answer=None), question(category=6), question(answer=" "))
    assert not kept
    assert {reason: count.examples for reason, count in report.dropped.items()} == {
        "no answer": ["conv-1-0", "conv-1-2"],
        "category 6 is none of 1 to 5": ["conv-1-1"],
    }
    row = {"sample_id": "conv-2", "conversation": {"session_1": []}, "qa": [question()]}
    assert list(records(row, report, "file: row 2")) == []
    assert report.dropped["no sessions"].examples == ["conv-2-0"]


def test_a_row_in_another_shape_stops_with_its_place(load, write):
    row = {"sample_id": "conv-1", "conversation": CONVERSATION, "qa": [{"answer": "?"}]}
    with pytest.raises(DataError, match=r"locomo\.json: row 1: .* columns of format 'locomo' but not its shape"):
        load(write("locomo.json", [row]), "locomo")


def test_the_whole_slice(slices, tmp_path):
    """Every trap in the file by its count, and every gold earns the maximum."""
    loaded = load_source({"format": "locomo", "path": str(slices / "locomo.json")}, cache_dir=tmp_path)
    report = loaded.report
    assert (report.read, report.kept, report.dropped) == (1157, 1157, {})
    assert {oddity: (count.rows, count.examples[0]) for oddity, count in report.noted.items()} == {
        "a date without a session": (16, "conv-26/session_20"),
        "the answer is a number": (6, "conv-26-1"),
        "an adversarial question with an answer of its own": (2, "conv-26-167"),
        "evidence: the list is empty": (2, "conv-26-30"),
        "evidence: several turns in one string": (1, "conv-26-37"),
        "evidence: no such turn, its session is kept": (1, "conv-42-58"),
        "evidence: names no turn": (1, "conv-42-88"),
        "evidence: a turn in another spelling": (1, "conv-43-18"),
    }
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 130_000_000  # about 100 kB a question
    reward = presets.memory_t1()
    subtasks, memories, maxima = Counter(), {}, Counter()
    for record in loaded.records():
        subtasks[record["subtask"]] += 1
        memories[record["memory"]] = len(record["sessions"])
        assert all(session["date"] for session in record["sessions"])
        assert {session["id"] for session in record["sessions"]} >= set(record["evidence"])
        # No utterance has events here, so the reward needs no more of a session than this; it saves most of the time.
        short = [{"id": session["id"], "date": session["date"]} for session in record["sessions"]]
        sample = Sample.from_record({**record, "sessions": short})
        score = reward(sample.with_completion(gold_completion(sample)))
        assert score.total == pytest.approx(score.maximum), record["id"]
        maxima[round(score.maximum, 3)] += 1
    assert subtasks == {"multi_hop": 172, "temporal": 180, "open_domain": 53, "single_hop": 480, "adversarial": 272}
    assert memories == {"conv-26": 19, "conv-30": 19, "conv-41": 32, "conv-42": 29, "conv-43": 29, "conv-44": 28}
    assert maxima == {0.8: 1155, 0.6: 2}  # no time range is annotated; two rows have no evidence either


def test_long_rows_are_written_and_read_a_few_at_a_time(slices, tmp_path, monkeypatch):
    """A conversation stands in each of its questions, so batches are limited by content and not by rows alone."""
    from rlkit.data import cache, files

    monkeypatch.setattr(cache, "BATCH_CHARS", 400_000)
    monkeypatch.setattr(files, "_BATCH_BYTES", 1_000_000)
    spec = {"format": "locomo", "path": str(slices / "locomo.json"), "limit": 100}
    rows = load_source(spec, cache_dir=tmp_path).rows
    written = [batch.num_rows for batch in rows.data.table.to_batches()]
    assert sum(written) == 100
    assert max(written) < 12
    sizes = []
    monkeypatch.setattr(type(rows), "iter", lambda self, size: sizes.append(size) or iter(()))
    list(files.dataset_rows(rows, "x"))
    assert 5 <= sizes[0] <= 20
