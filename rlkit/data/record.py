"""The one shape that every loader produces: a plain dict, one JSON object a line on disk, one row in Arrow.

Knows the layout; knows no file format, no prompt and no reward.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, cast

from rlkit.errors import nearest

if TYPE_CHECKING:
    import datasets

TASKS = ("care", "memory_t1")
KINDS = ("text", "choice", "time", "duration", "order")
# What other data sets call the answer: worth a hint where `golds` is missing.
_GOLD_NAMES = ("answer", "answers", "gold", "gold_answer", "target")


class Passage(TypedDict):
    title: str
    text: str


class Record(TypedDict, total=False):
    """One question with its input and its labels.

    `golds` holds every accepted answer (never empty); `evidence` holds verbatim supporting sentences or
    passages for task `care`, session ids for task `memory_t1`, and is empty where nothing is labelled. `hops`
    counts the facts or paragraphs that the answer needs. `sessions` are dated dialogues: `{id, date,
    utterances: [{speaker, text, time, events: [{summary, start, end}]}]}`. Keys that are not listed here are
    the user's own columns.
    """

    id: str
    task: str
    kind: str
    question: str
    context: list[Passage]
    golds: list[str]
    evidence: list[str]
    source: str
    hops: int
    asked_at: str | None
    time_range: list[str | None] | None
    sessions: list[dict[str, Any]]
    completion: str


KEYS = tuple(Record.__annotations__)


def features() -> datasets.Features:
    """The Arrow schema of every source, so that CARE and Memory-T1 sources can be concatenated.

    It is the record's layout plus `extra`: the user's own columns as one JSON object, or null. What a row
    does not have is null.
    """
    from datasets import Features, Value

    text = Value("string")
    event = {"summary": text, "start": text, "end": text}
    utterance = {"speaker": text, "text": text, "time": text, "events": [event]}
    return Features(
        {
            "id": text,
            "task": text,
            "kind": text,
            "question": text,
            "context": [{"title": text, "text": text}],
            "golds": [text],
            "evidence": [text],
            "source": text,
            "hops": Value("int32"),
            "asked_at": text,
            "time_range": [text],
            "sessions": [{"id": text, "date": text, "utterances": [utterance]}],
            "completion": text,
            "extra": text,
        }
    )


def to_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as a row of the Arrow schema: its own columns go into `extra`.

    >>> to_row({"id": "q1", "level": "hard"})["extra"]
    '{"level": "hard"}'
    """
    extra = {key: value for key, value in record.items() if key not in KEYS}
    row = {key: record.get(key) for key in KEYS}
    row["extra"] = json.dumps(extra, ensure_ascii=False, default=str) if extra else None
    return row


def to_record(row: Mapping[str, Any]) -> Record:
    """The record that `to_row` stored: without nulls, the user's own columns beside the others.

    >>> to_record({"id": "q1", "hops": None, "extra": '{"level": "hard"}'})
    {'id': 'q1', 'level': 'hard'}
    """
    record = {key: value for key, value in row.items() if value is not None and key != "extra"}
    if row.get("extra"):
        record.update(json.loads(row["extra"]))
    return cast(Record, record)


def to_json_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON, without the line break; keys without a value are left out.

    >>> to_json_line({"id": "q1", "golds": ["Évora"], "asked_at": None})
    '{"id": "q1", "golds": ["Évora"]}'
    """
    kept = {key: value for key, value in record.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False)


def passage(title: Any, text: Any) -> Passage:
    """A passage; raises `TypeError` for a text that is no text.

    >>> passage(None, "Emma is a novel.")
    {'title': '', 'text': 'Emma is a novel.'}
    """
    if not isinstance(text, str):
        raise TypeError(f"a passage's text is {text!r:.60} ({type(text).__name__}), but must be text")
    return Passage(title="" if title is None else str(title), text=text)


def missing_hint(key: str, columns: Iterable[str]) -> str:
    """The sentence that points from a missing column to one that may be meant, or an empty string.

    >>> missing_hint("golds", ["question", "answer"])
    " Rename 'answer' to 'golds'."
    """
    others = [name for name in columns if name not in KEYS]
    if key == "golds":
        known = [name for name in _GOLD_NAMES if name in others]
        if known:
            return f" Rename {known[0]!r} to 'golds'."
    return nearest(key, others)
