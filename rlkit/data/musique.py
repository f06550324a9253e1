"""MuSiQue: two- to four-hop questions over twenty paragraphs, with the supporting paragraphs marked.

The hub mirrors carry the columns of the original release, so one mapping reads both. Questions that cannot be
answered from their paragraphs (the release's "full" variant) are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlkit.data.layout import Layout, Report, Row, distinct, entries
from rlkit.data.record import Record, passage


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The record of one question; golds are the answer and its aliases, evidence the supporting paragraphs.

    >>> row = {"id": "2hop__1_2", "question": "Who is the mother of Ann's son?", "answer": "Ann", "answer_aliases": ["Anne"],
    ...        "paragraphs": [{"idx": 0, "title": "Ann", "paragraph_text": "Ann has a son.", "is_supporting": True}],
    ...        "question_decomposition": [{}, {}], "answerable": True}
    >>> record = next(records(row, Report(), "file:1"))
    >>> record["golds"], record["evidence"], record["hops"]
    (['Ann', 'Anne'], ['Ann has a son.'], 2)
    """
    row_id = str(row["id"])
    golds = distinct([row["answer"], *(row.get("answer_aliases") or ())])
    paragraphs = entries(row["paragraphs"], "title", "paragraph_text", "is_supporting")
    if row.get("answerable") is False:
        return report.drop("unanswerable", row_id)
    if not golds:
        return report.drop("no answer", row_id)
    if not paragraphs:
        return report.drop("no passages", row_id)
    record = Record(
        id=row_id,
        task="care",
        kind="text",
        question=row["question"].strip(),
        context=[passage(title, text) for title, text, _ in paragraphs],
        golds=golds,
        evidence=distinct(text for _, text, supporting in paragraphs if supporting),
        source="musique",
    )
    steps = row.get("question_decomposition")
    if steps:
        record["hops"] = len(next(iter(steps.values()))) if isinstance(steps, dict) else len(steps)
    yield record


LAYOUT = Layout("musique", (("id", "question", "answer", "paragraphs"),), records)
