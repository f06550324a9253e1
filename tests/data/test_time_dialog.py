from __future__ import annotations

import json
from collections import Counter

import pytest

from rewards import Sample, presets
from rewards.dates import is_before, read_date
from rewards.gold import gold_completion
from rlkit.data.layout import Report
from rlkit.data.time_dialog import KINDS, Reader, in_prompt, sessions_of
from rlkit.errors import ConfigError, DataError


def said(text="Hi!", events=None, **keys):
    return {"speaker": "Ann", "utterance": text, "utterance_date": "2020-03-05T09:00:00", "events": events, **keys}


def session(*content, date="2020-03-05T09:00:00"):
    return {"session_date": date, "content": list(content)}


EVENT = {"event_summary": "Ann was in Rome", "event_time": ["2020-03-01T00:00:00", "2020-03-03T23:59:59"]}
CONTEXTS = {"c1": {"1": session(said()), "3": session(said("Back from Rome!", [EVENT]))}, "c2": {"7": session(said())}}
RANGES = {"q1": {"question_time_range": {"start": "2020-03-01T00:00:00", "end": "unknown"}, "events": []}}
QUESTION = {
    "Question ID": "q1",
    "Question": "Where was Ann? \nA. Rome\nB. Bath",
    "Gold Answer": "A",
    "Task": "Extract",
    "Level": "Level 1",
    "Context": "c1",
    "Evidence": [{"session_id": "3", "speaker": "Ann", "utterance": "Back from Rome!"}, {"session_id": 3}],
}


@pytest.fixture
def release(load, write):
    """Load a release of three files from the given rows: `release(questions, contexts=..., ranges=...)`."""

    def loader(questions, contexts=CONTEXTS, ranges=RANGES):
        write("contexts.json", contexts)
        keys = {"contexts": "contexts.json"}
        if ranges is not None:
            write("ranges.json", ranges)
            keys["ranges"] = "ranges.json"
        return load(write("questions.json", questions), "time_dialog", **keys)

    return loader


def counts(report):
    return {oddity: count.rows for oddity, count in report.noted.items()}


# the release: questions, contexts, ranges


def test_a_question_with_its_context_and_range(release):
    loaded = release([QUESTION])
    utterance = {"speaker": "Ann", "time": "2020-03-05T09:00:00"}
    event = {"summary": "Ann was in Rome", "start": "2020-03-01T00:00:00", "end": "2020-03-03T23:59:59"}
    assert list(loaded.records()) == [
        {
            "id": "q1",
            "task": "memory_t1",
            "kind": "choice",
            "question": "Where was Ann? \nA. Rome\nB. Bath",
            "context": [],
            "golds": ["A"],
            "evidence": ["session_3"],
            "source": "time_dialog",
            "time_range": ["2020-03-01T00:00:00", None],
            "subtask": "Extract",
            "level": "Level 1",
            "memory": "c1",
            "sessions": [
                {
                    "id": "session_1",
                    "date": "2020-03-05T09:00:00",
                    "utterances": [{**utterance, "text": "Hi!", "events": []}],
                },
                {
                    "id": "session_3",
                    "date": "2020-03-05T09:00:00",
                    "utterances": [{**utterance, "text": "Back from Rome!", "events": [event]}],
                },
            ],
        }
    ]
    assert loaded.report.noted == {}


def test_the_gold_of_such_a_question_earns_one(release):
    (record,) = release([QUESTION], {"c1": {"3": session(said("Back from Rome!", [EVENT]))}}).records()
    sample = Sample.from_record(record)
    score = presets.memory_t1()(sample.with_completion(gold_completion(sample)))
    assert (score.total, score.maximum) == (pytest.approx(1), pytest.approx(1))


def test_without_ranges_no_range_is_made_up(release):
    loaded = release([QUESTION], ranges=None)
    assert "time_range" not in next(loaded.records())
    assert loaded.report.noted == {}
    loaded = release([QUESTION, {**QUESTION, "Question ID": "q2"}])
    assert "time_range" not in list(loaded.records())[1]
    assert counts(loaded.report) == {"no time range is annotated": 1}


@pytest.mark.parametrize(
    ("given", "expected", "oddities"),
    [
        ({"start": "unknown", "end": "unknown"}, [None, None], {}),
        ({"start": None, "end": "2020-03-01"}, [None, "2020-03-01"], {}),
        ({"start": "spring", "end": "2020-03-01"}, [None, "2020-03-01"], {"time range: a date that cannot be read": 1}),
        (
            {"start": "2020-04-01", "end": "2020-03-01"},
            ["2020-03-01", "2020-04-01"],
            {"time range: ends before it starts, bounds exchanged": 1},
        ),
    ],
)
def test_bounds_of_a_range(release, given, expected, oddities):
    loaded = release([QUESTION], ranges={"q1": {"question_time_range": given}})
    assert next(loaded.records())["time_range"] == expected
    assert counts(loaded.report) == oddities


@pytest.mark.parametrize(
    ("events", "expected", "oddities"),
    [
        (EVENT, [("2020-03-01T00:00:00", "2020-03-03T23:59:59")], {}),
        ([[EVENT], EVENT], [("2020-03-01T00:00:00", "2020-03-03T23:59:59")] * 2, {}),
        (None, [], {}),
        ([{"event_summary": "x", "event_time": "2020-03-01"}], [("2020-03-01", "2020-03-01")], {}),
        ([{"event_summary": "x", "event_time": ["2020-03-01"]}], [("2020-03-01", "2020-03-01")], {}),
        ([{"event_summary": "x", "event_time": ["2020-03-01", "unknown"]}], [("2020-03-01", None)], {}),
        ([{"event_summary": "x"}], [(None, None)], {}),
        (
            [{"event_summary": "x", "event_time": ["last spring", "2020-03-01"]}],
            [(None, "2020-03-01")],
            {"event: a date that cannot be read": 1},
        ),
        (
            [{"event_summary": "x", "event_time": ["2020-03-01", "2020-03-02", "2020-03-03"]}],
            [("2020-03-01", "2020-03-03")],
            {"event: more than two bounds, first and last are taken": 1},
        ),
        (["a trip", EVENT["event_time"]], [], {"event: not an object, left out": 3}),
    ],
)
def test_events_in_every_shape(events, expected, oddities):
    report = Report()
    (only,) = sessions_of({"1": session(said(events=events))}, "c1", report)
    read = [(event["start"], event["end"]) for event in only["utterances"][0]["events"]]
    assert (read, counts(report)) == (expected, oddities)


def test_dates_that_cannot_be_read_are_unknown_and_counted_once_for_all_questions(release):
    contexts = {"c1": {"3": session(said(utterance_date="noon"), date="some day")}}
    loaded = release([QUESTION, {**QUESTION, "Question ID": "q2"}], contexts, ranges=None)
    for record in loaded.records():
        assert (record["sessions"][0]["date"], record["sessions"][0]["utterances"][0]["time"]) == (None, None)
    assert counts(loaded.report) == {
        "utterance: a date that cannot be read": 1,
        "session: a date that cannot be read": 1,
    }
    assert loaded.report.noted["session: a date that cannot be read"].examples == ["c1/session_3"]


@pytest.mark.parametrize(
    ("evidence", "expected", "oddities"),
    [
        ([{"session_id": "session_1"}, {"session_id": "<3>"}], ["session_1", "session_3"], {}),
        ([3, "1"], ["session_3", "session_1"], {}),
        ({"session_id": 1}, ["session_1"], {}),
        ([{"session_id": 1}, {"session_id": 9}], ["session_1"], {"evidence: no such session, left out": 1}),
        ([{"session_id": 1}, {"utterance": "?"}], ["session_1"], {"evidence: names no session": 1}),
        ([], [], {"evidence: none is labelled": 1}),
        (None, [], {"evidence: none is labelled": 1}),
    ],
)
def test_evidence(release, evidence, expected, oddities):
    loaded = release([{**QUESTION, "Evidence": evidence}])
    assert (next(loaded.records())["evidence"], counts(loaded.report)) == (expected, oddities)


def test_rows_that_cannot_be_used_are_dropped_and_counted(release):
    rows = [
        QUESTION,
        {**QUESTION, "Question ID": "q2", "Context": "c9"},
        {**QUESTION, "Question ID": "q3", "Gold Answer": " "},
        {**QUESTION, "Question ID": "q4", "Context": "empty"},
    ]
    report = release(rows, {**CONTEXTS, "empty": {}}, ranges=None).report
    assert (report.read, report.kept) == (4, 1)
    assert {reason: count.examples for reason, count in report.dropped.items()} == {
        "its context is not in the contexts file": ["q2"],
        "no answer": ["q3"],
        "no sessions": ["q4"],
    }


def test_the_parts_of_several_letters_are_one_answer(release):
    for answer in ("B  C", ["B", "C"]):
        (record,) = release([{**QUESTION, "Gold Answer": answer}]).records()
        for given, accuracy in (("C, B", 1), ("B", 0)):
            completion = json.dumps({"selected_memory": ["session_3"], "answer": given})
            assert presets.memory_t1()(Sample.from_record(record, completion=completion)).parts["accuracy"] == accuracy


def test_hub_columns_give_the_same_record(release, load, hub):
    from datasets import Features, List, Value

    expected = list(release([{**QUESTION, "Evidence": [{"session_id": "3"}]}]).records())
    text = Value("string")
    features = dict.fromkeys(QUESTION, text) | {"Evidence": List({"session_id": text})}
    hub([{**QUESTION, "Evidence": [{"session_id": "3"}]}], Features(features))
    keys = {"contexts": "contexts.json", "ranges": "ranges.json"}
    assert list(load("lab/time-dialog", "time_dialog", split="train", **keys).records()) == expected


# naming the files


def test_a_changed_contexts_file_is_read_anew(release):
    assert len(next(release([QUESTION]).records())["sessions"]) == 2
    assert len(next(release([QUESTION], {"c1": {"3": session(said())}}).records())["sessions"]) == 1


def test_questions_without_a_contexts_file_say_which_key_is_missing(load, write):
    with pytest.raises(DataError, match=r"questions\.json: row 1: .*`contexts: FILE`"):
        load(write("questions.json", [QUESTION]), "time_dialog")


def test_a_further_file_that_is_not_there_is_named_with_the_one_that_is(load, write):
    write("contexts.json", CONTEXTS)
    questions = write("questions.json", [QUESTION])
    with pytest.raises(
        DataError, match=r"^sources\.mine\.contexts: there is no file .*Did you mean 'contexts\.json'\?"
    ):
        load(questions, "time_dialog", contexts="context.json")
    with pytest.raises(ConfigError, match=r"^sources\.mine\.contexts: 7 is no text"):
        load(questions, "time_dialog", contexts=7)
    with pytest.raises(ConfigError, match=r"^sources\.mine\.context: no such key.*Did you mean 'contexts'\?"):
        load(questions, "time_dialog", context="contexts.json")


def test_keys_of_one_format_are_no_keys_of_another(load, write):
    with pytest.raises(ConfigError, match=r"^sources\.mine\.contexts: no such key"):
        load(write("mine.jsonl", [{"question": "?", "golds": "a", "context": "x"}]), "records", contexts="c.json")


def test_files_in_the_wrong_place_say_what_they_should_hold(release):
    with pytest.raises(DataError, match=r"contexts\.json: context 'q1' has another shape"):
        release([QUESTION], contexts=RANGES)
    with pytest.raises(DataError, match=r"ranges\.json: question 'c1' has no question_time_range"):
        release([QUESTION], ranges=CONTEXTS)
    with pytest.raises(DataError, match=r"contexts\.json: nothing of the shape"):
        release([QUESTION], contexts=[])


def test_an_unknown_task_stops_with_the_nearest_one(release):
    with pytest.raises(DataError, match=r"row 1: task 'Localisation' is unknown.*Did you mean 'Localization'\?"):
        release([{**QUESTION, "Task": "Localisation"}])


# released outputs


def prompt(sessions):
    return (
        "You are ...\n\n**User Question:**\n2025-07-24 15:05:52: Where?\n\n***session memory:** \n"
        f"{sessions}\n\n**Expected Response:**\n```json\n```\n"
    )


OUTPUT = {
    "question_id": "q1",
    "question": "Where?",
    "level": "Level 1",
    "task": "Localization",
    "gold_answer": "May, 2023",
    "question_time_range": {"start": "unknown", "end": "2023-06-01T00:00:00"},
    "full_prompt": prompt(
        "2023-05-02T10:00:00: <12>, Ann 2023-05-02T10:00:00 : Hi: you!\nAs I said:\n2. so it is\n"
        "2023-05-01T10:00:00: <3>, Ben 2023-05-01T10:00:00 :\nAnn 2023-05-01T10:00:00 : Bye."
    ),
    "full_prompt_output": "{}",
    "bm25_prompt": prompt("\n".join(["2023-05-01T09:00:00: <4>, Ann 2023-05-01T09:00:00 : Hello."] * 2)),
    "bm25_output": "[]",
}


def test_sessions_stand_in_the_prompts_of_released_outputs(load, write):
    loaded = load(write("outputs.jsonl", [OUTPUT]), "time_dialog")
    assert counts(loaded.report) == {"a prompt shows a session twice, kept once": 1}
    (record,) = loaded.records()
    shown = [
        (session["id"], session["date"], [(u["speaker"], u["text"], u["time"]) for u in session["utterances"]])
        for session in record["sessions"]
    ]
    assert shown == [
        ("session_4", "2023-05-01T09:00:00", [("Ann", "Hello.", "2023-05-01T09:00:00")]),
        (
            "session_3",
            "2023-05-01T10:00:00",
            [("Ben", "", "2023-05-01T10:00:00"), ("Ann", "Bye.", "2023-05-01T10:00:00")],
        ),
        ("session_12", "2023-05-02T10:00:00", [("Ann", "Hi: you!\nAs I said:\n2. so it is", "2023-05-02T10:00:00")]),
    ]
    assert (record["kind"], record["golds"], record["evidence"]) == ("time", ["May, 2023"], [])
    assert record["time_range"] == [None, "2023-06-01T00:00:00"]
    assert (record["full_prompt_output"], record["bm25_output"]) == ("{}", "[]")
    assert "asked_at" not in record  # the prompt's stamp is the clock of the machine that ran it


def test_a_prompt_of_another_form_stops_with_its_place(load, write):
    for body in ("Where?", prompt("session_1: Ann: Hi!")):
        with pytest.raises(DataError, match=r"outputs\.jsonl:1: .*not its shape \(ValueError"):
            load(write("outputs.jsonl", [{**OUTPUT, "full_prompt": body}]), "time_dialog")


def test_contexts_beside_outputs_are_refused(load, write):
    write("contexts.json", CONTEXTS)
    with pytest.raises(DataError, match=r"outputs\.jsonl:1: .*take `contexts` out"):
        load(write("outputs.jsonl", [OUTPUT]), "time_dialog", contexts="contexts.json")


def test_an_empty_prompt_holds_no_session():
    assert in_prompt(prompt("")) == []


def test_the_real_slice(load, slices):
    """Every question is there or counted, every utterance is read, and a gold short of the maximum has its reason."""
    loaded = load(slices / "time_dialog_outputs.jsonl", "time_dialog")
    lines = (slices / "time_dialog_outputs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["question_id"]: row for row in map(json.loads, lines)}
    report = loaded.report
    assert (report.read, report.kept) == (120, 112)
    assert counts(report) == {"a prompt shows a session twice, kept once": 23}
    assert {reason: count.rows for reason, count in report.dropped.items()} == {"no sessions": 8}
    reward, kinds, sessions, short = presets.memory_t1(), Counter(), 0, 0
    for record in loaded.records():
        row = rows[record["id"]]
        kinds[record["kind"]] += 1
        sessions += len(record["sessions"])
        assert (record["subtask"], record["golds"]) == (row["task"], [row["gold_answer"]])
        assert "asked_at" not in record
        spoken = [said for session in record["sessions"] for said in session["utterances"]]
        assert all(said["speaker"] and said["time"] for said in spoken)
        prompts = row["full_prompt"] + row["bm25_prompt"]
        assert all(f"{said['speaker']} {said['time']} : {said['text']}".strip() in prompts for said in spoken)
        bounds = [None if bound == "unknown" else bound for bound in row["question_time_range"].values()]
        assert record["time_range"] == bounds
        sample = Sample.from_record(record)
        score = reward(sample.with_completion(gold_completion(sample)))
        assert score.parts["accuracy"] == 1
        if score.total != pytest.approx(score.maximum):
            short += 1
            assert not any(_inside(session["date"], bounds) for session in record["sessions"])
    assert kinds == {"choice": 83, "time": 13, "duration": 10, "order": 6}
    assert (sessions, short) == (204, 17)
    ranged = load(
        slices / "time_dialog_outputs.jsonl", "time_dialog", ranges=str(slices / "time_dialog_question_ranges.json")
    )
    assert list(ranged.records()) == list(loaded.records())  # those in both files agree


def test_every_real_range_is_read(slices):
    path = slices / "time_dialog_question_ranges.json"
    reader, report, unknown = Reader({"ranges": path}), Report(), Counter()
    reader.contexts = {"c1": sessions_of(CONTEXTS["c1"], "c1", report)}
    for row_id in json.loads(path.read_text(encoding="utf-8")):
        (record,) = reader({**QUESTION, "Question ID": row_id}, report, "file:1")
        unknown[tuple(bound is None for bound in record["time_range"])] += 1
    assert report.noted == {}
    assert unknown == {(True, False): 681, (False, False): 406, (True, True): 386, (False, True): 27}


def test_every_task_has_a_kind_that_rewards_know():
    for kind in set(KINDS.values()):
        sample = Sample(task="memory_t1", kind=kind, golds="A", completion='{"selected_memory": [], "answer": "A"}')
        assert presets.memory_t1()(sample).parts["accuracy"] == 1


def _inside(date, bounds):
    start, end = (None if bound is None else read_date(bound) for bound in bounds)
    when = read_date(date)
    return not (start and is_before(when, start)) and not (end and is_before(end, when))
