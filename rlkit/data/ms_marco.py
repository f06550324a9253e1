"""MS MARCO QA: real search queries with ten web passages each; the annotator marked those used.

Reads version 2.1 as released (one object of columns, each {row id: value}), version 1.1 (a row a line) and
the hub release. Queries that no passage answers ("No Answer Present.") are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlkit.data import files
from rlkit.data.layout import Head, Layout, Report, Row, distinct, entries
from rlkit.data.record import Record, passage
from rlkit.errors import DataError

NO_ANSWER = "No Answer Present."
_REQUIRED = ("query", "query_id", "passages", "answers")
_COLUMNS = (*_REQUIRED, "wellFormedAnswers")
_PASSAGE = ("passage_text", "is_selected", "url")


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The record of one query; golds are all its answers, evidence the selected passages.

    >>> row = {"query": "how tall is everest", "query_id": 7, "answers": ["8,849 m"], "wellFormedAnswers": "[]",
    ...        "passages": [{"is_selected": 1, "passage_text": "Everest is 8,849 m tall.", "url": "https://example.org"}]}
    >>> record = next(records(row, Report(), "file:1"))
    >>> record["id"], record["golds"], record["evidence"]
    ('7', ['8,849 m'], ['Everest is 8,849 m tall.'])
    """
    row_id = str(row["query_id"])
    well_formed = row.get("wellFormedAnswers")
    answers = distinct([*(row["answers"] or ()), *(well_formed if isinstance(well_formed, list) else ())])
    golds = [answer for answer in answers if answer != NO_ANSWER]
    passages = [(text.strip(), chosen) for text, chosen in _passages(row["passages"]) if text.strip()]
    if not golds:
        return report.drop("unanswerable" if answers else "no answer", row_id)
    if not passages:
        return report.drop("no passages", row_id)
    evidence = distinct(text for text, chosen in passages if chosen == 1)
    if not evidence:
        report.note("no passage is marked as used", row_id)
    yield Record(
        id=row_id,
        task="care",
        kind="text",
        question=row["query"].strip(),
        context=[passage("", text) for text, _ in passages],
        golds=golds,
        evidence=evidence,
        source="ms_marco",
    )


def _passages(value: Any) -> list[tuple[Any, ...]]:
    if isinstance(value, Mapping):
        return entries(value, "passage_text", "is_selected")
    return [(item["passage_text"], item.get("is_selected")) for item in value]  # the test sets leave the mark out


def _claims(head: Head) -> bool:
    return head.key in (*_COLUMNS, "query_type") and head.nested and head.inner_key not in _PASSAGE


def _joined(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of the column-wise release, joined by row id while every column is read once, side by side.

    All columns list their ids in the same order (the release was written from a table); a column may leave
    ids out.
    """
    columns = {name: files.json_pairs(path, name) for name in _COLUMNS}
    heads = {name: next(pairs, None) for name, pairs in columns.items()}
    missing = [name for name in _REQUIRED if heads[name] is None]
    if missing:
        raise DataError(
            f"{path}: columns {', '.join(missing)} are missing or empty, but format 'ms_marco' needs "
            f"{', '.join(_REQUIRED)}; the release's evaluation file has no answers, so take train or dev."
        )
    while heads["query"] is not None:
        key = heads["query"][0]
        row: dict[str, Any] = {}
        for name, pairs in columns.items():
            head = heads[name]
            if head is not None and head[0] == key:
                row[name] = head[1]
                heads[name] = next(pairs, None)
        absent = [name for name in _REQUIRED if name not in row]
        if absent:
            raise DataError(_disorder(path, absent, key))
        yield f"{path}: row {key!r}", row
    left = [(name, head[0]) for name, head in heads.items() if head is not None]
    if left:
        raise DataError(_disorder(path, [name for name, _ in left], left[0][1]))


def _disorder(path: Path, names: list[str], key: str) -> str:
    return (
        f"{path}: row {key!r} does not stand in the same place in 'query' and in {', '.join(map(repr, names))}, so rows "
        "cannot be joined while reading; write every column in one order of ids, or one JSON object a line."
    )


LAYOUT = Layout("ms_marco", (_REQUIRED,), records, claims=_claims, rows=_joined)
