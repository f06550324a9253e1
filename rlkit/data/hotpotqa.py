"""HotpotQA: multi-hop questions over Wikipedia paragraphs, with labelled supporting sentences.

Reads the original release (`_id`, `context` [[title, [sentence]]], `supporting_facts` [[title, index]]) and
the hub release (`id`, the same as columns of lists). Files in this layout from other data sets load as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from rlkit.data.layout import Layout, Report, Row, distinct, entries
from rlkit.data.record import Record, passage


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The record of one question; evidence is its supporting sentences, in the order of the labels.

    A label whose title or sentence is not in the context is counted and left out; the row stays. Where two
    paragraphs have one title, the first that is long enough is meant. The column `subtask` is the kind of
    question: bridge or comparison.

    >>> row = {"_id": "q1", "question": "Who wrote Emma?", "answer": "Jane Austen", "supporting_facts": [["Emma", 0]],
    ...        "context": [["Emma", ["Emma is a novel by Jane Austen.", " It appeared in 1815."]]]}
    >>> record = next(records(row, Report(), "file:1"))
    >>> record["context"][0]["text"], record["evidence"]
    ('Emma is a novel by Jane Austen. It appeared in 1815.', ['Emma is a novel by Jane Austen.'])
    """
    return with_facts(row, entries(row["context"], "title", "sentences"), [row["answer"]], "hotpotqa", report)


def with_facts(
    row: Row, paragraphs: Sequence[tuple[str, Sequence[str]]], answers: Iterable[Any], source: str, report: Report
) -> Iterator[Record]:
    """The record of a question over `paragraphs` (title, sentences) with supporting facts (title, sentence index)."""
    row_id = str(row["_id"] if "_id" in row else row["id"])
    golds = distinct(answers)
    if not golds:
        return report.drop("no answer", row_id)
    if not paragraphs:
        return report.drop("no passages", row_id)
    evidence, titles = [], set()
    for title, index in entries(row["supporting_facts"], "title", "sent_id"):
        holders = [sentences for name, sentences in paragraphs if name == title]
        sentence = next((sentences[index].strip() for sentences in holders if 0 <= index < len(sentences)), "")
        if sentence:
            evidence.append(sentence)
            titles.add(title)
        elif holders:
            report.note("supporting fact: no such sentence in the paragraph", row_id)
        else:
            report.note("supporting fact: no paragraph with that title", row_id)
    record = Record(
        id=row_id,
        task="care",
        kind="text",
        question=row["question"].strip(),
        context=[passage(title, joined(sentences)) for title, sentences in paragraphs],
        golds=golds,
        evidence=distinct(evidence),
        source=source,
    )
    if titles:
        record["hops"] = len(titles)  # each supporting paragraph is one hop
    yield cast(Record, {**record, "subtask": row["type"]}) if row.get("type") else record


def joined(sentences: Sequence[str]) -> str:
    """One paragraph from its sentences, which mostly bring the space before them along.

    >>> joined(["One.", " Two.", "Three."])
    'One. Two. Three.'
    """
    parts: list[str] = []
    for sentence in sentences:
        if parts and parts[-1] and sentence and not (parts[-1][-1].isspace() or sentence[0].isspace()):
            parts.append(" ")
        parts.append(sentence)
    return "".join(parts).strip()


_SHARED = ("question", "answer", "supporting_facts", "context")
LAYOUT = Layout("hotpotqa", (("_id", *_SHARED), ("id", *_SHARED)), records)
