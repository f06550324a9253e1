"""Request bodies into rows to score, and rows into scores: both ends of what travels to a worker process.

Knows the record layout and OpenRLHF's fields; knows no HTTP library and no process. Rows travel as JSON text, so that
no pickle is ever read from outside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rewards.adapters.openrlhf import completion_of
from rewards.adapters.rows import figures, from_text, number
from rewards.compose import Score, Weighted
from rewards.errors import RewardError
from rewards.sample import Sample
from rlkit.data.jsonl import normalise
from rlkit.errors import DataError

MAX_MESSAGE_CHARACTERS = 2_000
Row = tuple[int, bytes]  # its number, counted from 1, and its record as one line of JSON


class BadBody(Exception):
    """A body that cannot be served; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def rows_of_json(body: bytes, max_rows: int) -> list[Row]:
    """The rows of `{"records": [...]}`; raises `BadBody` with the position where the text is no JSON.

    >>> rows_of_json(b'{"records": [{"id": "q1"}]}', max_rows=9)
    [(1, b'{"id": "q1"}')]
    """
    records = _object(body).get("records")
    if not isinstance(records, list):
        raise BadBody(400, 'the body must be {"records": [...]}: one list with the records to score.')
    _check_count(len(records), max_rows)
    return [(i, json.dumps(record).encode()) for i, record in enumerate(records, 1)]


def rows_of_lines(body: bytes, max_rows: int) -> list[Row]:
    """The rows of JSON lines, under their line numbers; blank lines are left out.

    >>> rows_of_lines(b'{"id": "q1"}\\n\\n{"id": "q2"}\\n', max_rows=9)
    [(1, b'{"id": "q1"}'), (3, b'{"id": "q2"}')]
    """
    rows = [(i, line.strip()) for i, line in enumerate(body.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)]
    rows = [(i, line) for i, line in rows if line]
    if not rows:
        raise BadBody(400, "the body holds no line; send one record a line.")
    _check_count(len(rows), max_rows)
    return rows


def rows_of_openrlhf(body: bytes, max_rows: int) -> list[Row]:
    """The rows of OpenRLHF's `{"query": [...], "prompts": [...], "labels": [...]}`, whose labels are records."""
    fields = _object(body)
    columns = [fields.get(name) for name in ("query", "prompts", "labels")]
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) != 3 or len({len(column) for column in lists}) != 1:
        raise BadBody(400, 'the body must be {"query": [...], "prompts": [...], "labels": [...]}: lists of one length.')
    _check_count(len(lists[0]), max_rows)
    rows = []
    for i, (query, prompt, label) in enumerate(zip(*lists, strict=True), 1):
        try:
            if not isinstance(query, str) or not isinstance(prompt, str):
                raise RewardError("query and prompt must be text")
            record = {**from_text(label, "the label"), "completion": completion_of(query, prompt)}
        except RewardError as error:
            raise BadBody(422, f"row {i}: {error}") from error
        rows.append((i, json.dumps(record).encode()))
    return rows


def score_row(reward: Weighted, row: Row) -> bytes:
    """What one row earns, or `{"error", "row"}`, as JSON; one row's failure never costs another its score.

    >>> from rewards import presets
    >>> score_row(presets.care(), (3, b'{"question": "When?"}'))  # doctest: +ELLIPSIS
    b'{"error": "row 3: \\'completion\\' is missing, ...", "row": 3}'
    """
    place, text = row
    try:
        score = reward(_sample(text, f"row {place}"))
    except (DataError, RewardError) as error:
        return error_row(place, str(error))
    except Exception as error:  # the last boundary: what is not foreseen costs this row only
        return error_row(place, f"row {place}: {type(error).__name__}: {error}")
    result: dict[str, Any] = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
    if score.errors:
        result["errors"] = dict(score.errors)
    return json.dumps(result).encode()


def error_row(place: int, message: str) -> bytes:
    """The result of a row that has none; the message is cut, as it may quote a hostile row."""
    return json.dumps({"error": message[:MAX_MESSAGE_CHARACTERS], "row": place}).encode()


def is_error(result: bytes) -> bool:
    """Whether a result is one of `error_row`."""
    return result.startswith(b'{"error"')


def openrlhf_answer(reward: Weighted, results: Sequence[bytes], unscored: float | None) -> bytes:
    """OpenRLHF's `{"rewards", "scores", "extra_logs"}`, each with one number a row; raises `BadBody` for any error row."""
    totals: list[float] = []
    shares: list[float] = []
    logs: list[dict[str, float]] = []
    for result in results:
        fields = json.loads(result)
        if "error" in fields:
            raise BadBody(422, fields["error"])
        score = Score(fields["total"], fields["parts"], fields["maximum"], fields.get("errors", {}))
        try:
            total = number(score, Sample(), "for_openrlhf", unscored)
        except RewardError as error:
            raise BadBody(422, f"row {len(totals) + 1}: {error} For the server: --unscored 0.0.") from error
        totals.append(total)
        shares.append(max(0.0, total / score.maximum) if score.maximum > 0 else 0.0)
        logs.append(figures(reward, score))
    extra = {name: [log[name] for log in logs] for name in (logs[0] if logs else ())}
    return json.dumps({"rewards": totals, "scores": shares, "extra_logs": extra}).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadBody(400, f"the body is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        raise BadBody(400, f"the body is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BadBody(400, f"the body holds {type(value).__name__}, but must be one JSON object.")
    return value


def _check_count(rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise BadBody(413, f"{rows:,} rows, but one request may hold {max_rows:,}; send several, or raise --max-rows.")


def _sample(text: bytes, where: str) -> Sample:
    try:
        row = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a line of JSON: {error}.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: holds {type(row).__name__}, but must be an object: one record with a completion.")
    if not isinstance(row.get("completion"), str):
        has = f"is {row['completion']!r:.60}" if "completion" in row else "is missing"
        raise DataError(f"{where}: 'completion' {has}, but must be the text to score; it has: {', '.join(row)}.")
    return Sample.from_record(normalise(row, where))
