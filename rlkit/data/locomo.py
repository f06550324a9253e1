"""LoCoMo: questions about a conversation of two people in up to 35 dated sessions, with the turns that hold the answer.

Reads the original release, one object a conversation (`sample_id`, `conversation`, `qa`). Knows the labels' flaws and
how the official scripts read them; knows no score and no retrieval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from rewards.dates import read_date
from rlkit.data.layout import Layout, Report, Row, distinct
from rlkit.data.record import Record

# The categories of the release by the names of its paper (arXiv 2402.17753, section 4.1).
SUBTASKS = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
# What the official scoring of adversarial questions looks for in an answer.
NOT_THERE = ("Not mentioned in the conversation", "No information available")
_SESSION = re.compile(r"session_([0-9]{1,6})")
_TURN = re.compile(r"D:?([0-9]{1,6}):([0-9]{1,6})")  # "D:11:26" is a slip of "D11:26"


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The records of one conversation, a question each; all of them hold its sessions.

    `evidence` names sessions; the turns are in the column `turns`, `D3:5` being the fifth utterance of session_3. An
    adversarial question asks for what nobody said: its golds say so, and the answer that it lures to is in the column
    `adversarial_answer`. Answers stay whole; the official scoring cuts those of open-domain questions at ";".

    >>> talk = {"session_1_date_time": "1:56 pm on 8 May, 2023",
    ...         "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Look!", "blip_caption": "a photo of a dog"}]}
    >>> row = {"sample_id": "conv-1", "conversation": talk,
    ...        "qa": [{"question": "What does Ann show?", "answer": "a dog", "evidence": ["D1:1"], "category": 4}]}
    >>> record = next(records(row, Report(), "file"))
    >>> record["id"], record["golds"], record["evidence"], record["turns"]
    ('conv-1-0', ['a dog'], ['session_1'], ['D1:1'])
    >>> record["sessions"][0]["date"], record["sessions"][0]["utterances"][0]["text"]
    ('2023-05-08T13:56:00', 'Look! [and shared a photo of a dog]')
    """
    memory = str(row["sample_id"])
    sessions = _sessions(row["conversation"], report, memory)
    lengths = {session["id"]: len(session["utterances"]) for session in sessions}
    for number, pair in enumerate(row["qa"]):
        row_id = f"{memory}-{number}"
        subtask = SUBTASKS.get(pair["category"])
        golds = _golds(pair, report, row_id)
        if subtask is None:
            report.drop(f"category {pair['category']!r} is none of 1 to 5", row_id)
            continue
        if not golds or not sessions:
            report.drop("no answer" if sessions else "no sessions", row_id)
            continue
        turns = [turn for text in pair.get("evidence") or () for turn in _turns(text, report, row_id)]
        if not pair.get("evidence"):
            report.note("evidence: the list is empty", row_id)
        record = Record(
            id=row_id,
            task="memory_t1",
            kind="text",
            question=pair["question"].strip(),
            context=[],
            golds=golds,
            evidence=distinct(_existing(turns, lengths, report, row_id)),
            source="locomo",
            sessions=sessions,
        )
        own = {
            "memory": memory,
            "subtask": subtask,
            "category": pair["category"],
            "turns": distinct(f"D{session}:{turn}" for session, turn in turns),
        }
        if pair.get("adversarial_answer") is not None:
            own["adversarial_answer"] = str(pair["adversarial_answer"])
        yield cast(Record, {**record, **own})


def _golds(pair: Mapping[str, Any], report: Report, row_id: str) -> list[str]:
    answer = pair.get("answer")
    if isinstance(answer, int | float):
        report.note("the answer is a number", row_id)
    golds = distinct([answer])
    if pair["category"] != 5:
        return golds
    if golds:
        report.note("an adversarial question with an answer of its own", row_id)
    return [*golds, *NOT_THERE]


def _turns(text: Any, report: Report, row_id: str) -> list[tuple[int, int]]:
    """The turns in one evidence string: none in "D", two in "D8:6; D9:17"."""
    turns = [(int(session), int(turn)) for session, turn in _TURN.findall(str(text))]
    if not turns:
        report.note("evidence: names no turn", row_id)
    elif len(turns) > 1:
        report.note("evidence: several turns in one string", row_id)
    elif text != f"D{turns[0][0]}:{turns[0][1]}":
        report.note("evidence: a turn in another spelling", row_id)
    return turns


def _existing(turns: list[tuple[int, int]], lengths: Mapping[str, int], report: Report, row_id: str) -> Iterator[str]:
    """The sessions of the turns; a turn beyond the end of its session still says which session was meant."""
    for session, turn in turns:
        name = f"session_{session}"
        if name not in lengths:
            report.note("evidence: no such session, left out", row_id)
            continue
        if not 1 <= turn <= lengths[name]:
            report.note("evidence: no such turn, its session is kept", row_id)
        yield name


def _sessions(conversation: Mapping[str, Any], report: Report, memory: str) -> list[dict[str, Any]]:
    """The sessions in the order of their numbers; utterances have no time of their own."""
    numbers = sorted(
        int(match.group(1)) for key in conversation if (match := _SESSION.fullmatch(key)) and conversation[key]
    )
    sessions = []
    for number in numbers:
        name = f"session_{number}"
        date = _date(conversation.get(f"{name}_date_time"))
        if date is None:
            report.note("a session without a date that can be read", f"{memory}/{name}")
        utterances: list[dict[str, Any]] = [
            {"speaker": str(turn["speaker"]), "text": _text(turn), "time": None, "events": []}
            for turn in conversation[name]
        ]
        sessions.append({"id": name, "date": date, "utterances": utterances})
    for key in conversation:
        name = key.removesuffix("_date_time")
        if name != key and conversation[key] and not conversation.get(name):
            report.note("a date without a session", f"{memory}/{name}")
    return sessions


def _text(turn: Mapping[str, Any]) -> str:
    """What was said and, as in the official scripts, what the picture shows that was sent along."""
    caption = turn.get("blip_caption")
    return f"{turn['text'].strip()} [and shared {caption.strip()}]".lstrip() if caption else turn["text"].strip()


def _date(text: Any) -> str | None:
    fields = read_date(str(text)) if text else None
    if fields is None:
        return None
    day = "-".join(f"{value:02d}" for value in fields[:3])
    return f"{day}T{fields[3]:02d}:{fields[4]:02d}:{fields[5]:02d}" if len(fields) == 6 else day


LAYOUT = Layout("locomo", (("sample_id", "conversation", "qa"),), records)
