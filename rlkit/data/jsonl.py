"""Format `records`: rows in this project's own layout, as users write them, brought into one shape.

Refuses what could only be guessed at: a missing question or gold, a value of another kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

from rlkit.data.layout import Layout, Report, Row
from rlkit.data.record import KEYS, KINDS, TASKS, Passage, Record, missing_hint, passage, to_record
from rlkit.errors import DataError, nearest


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The normalised row; evidence that is nowhere in its input is counted, for no quote can match it.

    >>> report = Report()
    >>> row = {"question": "When?", "golds": "1815", "context": "In 1815.", "evidence": "It was 1815."}
    >>> next(records(row, report, "mine.jsonl:1"))["evidence"], list(report.noted)
    (['It was 1815.'], ['evidence is not in the input'])
    """
    if all(key in row for key in (*KEYS, "extra")):
        row = to_record(row)  # written from a loaded source: the user's own columns are inside `extra`
    record = normalise(row, where)
    if record["task"] == "memory_t1":
        there = {session["id"] for session in record["sessions"]}
        found = all(session_id in there for session_id in record["evidence"])
    else:
        texts = [" ".join(passage["text"].split()) for passage in record["context"]] if record["evidence"] else []
        found = all(any(" ".join(fact.split()) in text for text in texts) for fact in record["evidence"])
    if not found:
        report.note("evidence is not in the input", record["id"])
    yield record


def normalise(row: Mapping[str, Any], where: str) -> Record:
    """The record in a row that a user wrote; `where` (`file:line`) names it in errors, or if it has no id.

    Context strings become passages, one gold becomes a list, numbers become text. A row with `sessions` is a
    `memory_t1` row unless it says otherwise. Further columns are kept; a `prompt` among them must be chat messages.
    Raises `DataError` for a missing question, golds or input, and for values of another shape.

    >>> row = {"question": "When?", "golds": 1815, "context": "Emma is an 1815 novel.", "level": "easy"}
    >>> record = normalise(row, "mine.jsonl:1")
    >>> record["id"], record["task"], record["golds"], record["context"], record["evidence"]
    ('mine.jsonl:1', 'care', ['1815'], [{'title': '', 'text': 'Emma is an 1815 novel.'}], [])
    >>> normalise({"question": "When?", "golds": [], "context": "..."}, "mine.jsonl:2")
    Traceback (most recent call last):
    rlkit.errors.DataError: mine.jsonl:2: golds is empty, so no answer could be right; give at least one accepted answer.
    """
    if row.get("id") is not None:
        name = str(row["id"])
        at = f"{where}: row {name!r}"
    else:
        name, at = where.rsplit("/", 1)[-1], where
    task = _one_of(row.get("task") or ("memory_t1" if row.get("sessions") else "care"), "task", TASKS, at)
    record: dict[str, Any] = {
        "id": name,
        "task": task,
        "kind": _one_of(row.get("kind") or "text", "kind", KINDS, at),
        "question": _text(_needed(row, "question", at), "question", at),
        "context": _passages(row.get("context"), at),
        "golds": _golds(_needed(row, "golds", at), at),
        "evidence": _texts(row.get("evidence"), "evidence", at),
        "source": _text(row.get("source") or "records", "source", at),
    }
    if task == "memory_t1":
        record["sessions"] = _sessions(_needed(row, "sessions", at), at)
    elif not record["context"]:
        _needed(row, "context", at)
        raise DataError(
            f"{at}: context holds no passage, so there is nothing to answer from; give the passages or take the row out."
        )
    if row.get("asked_at") is not None:
        record["asked_at"] = _text(row["asked_at"], "asked_at", at)
    if row.get("time_range") is not None:
        record["time_range"] = _time_range(row["time_range"], at)
    if row.get("hops") is not None:
        record["hops"] = _count(row["hops"], "hops", at)
    if row.get("completion") is not None:
        record["completion"] = _text(row["completion"], "completion", at, blank=True)
    if row.get("prompt") is not None:
        _check_prompt(row["prompt"], at)
    record.update({key: value for key, value in row.items() if key not in KEYS and value is not None})
    return cast(Record, record)


def _needed(row: Mapping[str, Any], key: str, at: str) -> Any:
    if row.get(key) is not None:
        return row[key]
    problem = "is null" if key in row else "is missing"
    raise DataError(f"{at}: column {key!r} {problem}; the columns here are {', '.join(row)}.{missing_hint(key, row)}")


def _one_of(value: Any, key: str, options: tuple[str, ...], at: str) -> str:
    if value not in options:
        raise DataError(
            f"{at}: {key} {value!r} is unknown; it must be one of {', '.join(options)}.{nearest(str(value), options)}"
        )
    return str(value)


def _text(value: Any, key: str, at: str, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise DataError(f"{at}: {key} is {value!r:.60} ({type(value).__name__}), but must be text.")
    if not blank and not value.strip():
        raise DataError(f"{at}: {key} is blank, so there is nothing to use; write it or take the row out.")
    return value


def _texts(value: Any, key: str, at: str) -> list[str]:
    if value is None:
        return []
    items = value if isinstance(value, list | tuple) else [value]
    return [_scalar(item, key, at) for item in items]


def _golds(value: Any, at: str) -> list[str]:
    golds = list(dict.fromkeys(_texts(value, "golds", at)))
    if not golds:
        raise DataError(f"{at}: golds is empty, so no answer could be right; give at least one accepted answer.")
    return golds


def _scalar(value: Any, key: str, at: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        f"{at}: {key} holds {value!r:.60}, but takes text, a finite number or a list of them, and nothing blank; "
        "write the answer out, for instance 'yes' instead of true."
    )


def _count(value: Any, key: str, at: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DataError(f"{at}: {key} is {value!r:.60}, but must be a whole number of at least 0.")
    return value


def _passages(value: Any, at: str) -> list[Passage]:
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    passages: list[Passage] = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            item = {"text": item}
        if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
            raise DataError(
                f"{at}: context[{number}] is {item!r:.60}, but a passage is text or "
                '{"title": ..., "text": ...}; reshape the row.'
            )
        passages.append(passage(item.get("title"), item["text"]))
    return passages


def _time_range(value: Any, at: str) -> list[str | None]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise DataError(f"{at}: time_range is {value!r:.60}, but must be [start, end] with null for an unknown bound.")
    return [None if bound is None else _text(bound, "time_range", at) for bound in value]


def _sessions(value: Any, at: str) -> list[dict[str, Any]]:
    sessions = []
    for item in _dicts(value, "sessions", ("id",), at):
        utterances = _dicts(item.get("utterances") or [], f"utterances of session {item['id']!r}", ("text",), at)
        sessions.append(
            {
                "id": _scalar(item["id"], "session id", at),
                "date": _stamp(item.get("date")),
                "utterances": [_utterance(utterance, at) for utterance in utterances],
            }
        )
    if not sessions:
        raise DataError(f"{at}: sessions is empty, so there is nothing to answer from; give them or take the row out.")
    return sessions


def _utterance(item: Mapping[str, Any], at: str) -> dict[str, Any]:
    events = _dicts(item.get("events") or [], "events", ("summary",), at)
    return {
        "speaker": str(item.get("speaker") or ""),
        "text": _text(item["text"], "utterance text", at, blank=True),
        "time": _stamp(item.get("time")),
        "events": [
            {"summary": str(event["summary"]), "start": _stamp(event.get("start")), "end": _stamp(event.get("end"))}
            for event in events
        ],
    }


def _dicts(value: Any, key: str, needs: tuple[str, ...], at: str) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list | tuple) else [value]
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or any(item.get(name) is None for name in needs):
            raise DataError(f"{at}: {key}[{number}] is {item!r:.60}, but must be an object with {', '.join(needs)}.")
    return list(items)


def _check_prompt(value: Any, at: str) -> None:
    rule = (
        "a row's own prompt is what the model is shown, so it must be a list of messages, each "
        '{"role": "user", "content": "..."} with text in both and no other key; reshape it, or take the column out to '
        "have the prompt made from the record."
    )
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{at}: prompt is {value!r:.60}, but {rule}")
    for number, message in enumerate(value):
        if (
            not isinstance(message, Mapping)
            or set(message) != {"role", "content"}
            or not all(isinstance(text, str) for text in message.values())
            or not message["role"].strip()
        ):
            raise DataError(f"{at}: prompt[{number}] is {message!r:.60}, but {rule}")


def _stamp(value: Any) -> str | None:
    return None if value is None else str(value)


LAYOUT = Layout("records", (("question", "golds"),), records)
