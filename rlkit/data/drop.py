"""DROP: questions that count, compare and add over one passage; no evidence is labelled.

Reads the original release (one object {passage id: {passage, qa_pairs}}) and the hub release (a row a
question, all annotators' answers in one flat list of spans).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlkit.data import files
from rlkit.data.layout import Head, Layout, Report, Row, distinct, entries
from rlkit.data.record import Record, passage
from rlkit.errors import DataError


def records(row: Row, report: Report, where: str) -> Iterator[Record]:
    """The records of one passage of the original release, or of one question of the hub release.

    Every annotator's answer is a gold. An answer of several spans is one gold, its spans joined with ", ": a
    model that gives one of two asked names has half the answer, not all of it.

    >>> answer = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": ["Bears", "Lions"]}
    >>> row = {"section_id": "nfl_1", "passage": "The Bears beat the Lions.",
    ...        "qa_pairs": [{"query_id": "q1", "question": "Who played?", "answer": answer}]}
    >>> [record["golds"] for record in records(row, Report(), "file")]
    [['Bears, Lions']]
    """
    if "qa_pairs" not in row:
        golds = flat_golds(entries(row["answers_spans"], "spans", "types"))
        yield from _record(row, str(row["query_id"]), row["passage"], golds, report)
        return
    for number, pair in enumerate(_shaped(row["qa_pairs"], list, "qa_pairs", where)):
        at = f"{where}: qa_pairs[{number}]"
        pair = _shaped(pair, Mapping, "the pair", at)
        row_id = str(pair.get("query_id") or f"{row['section_id']}-{number}")
        golds = distinct(_answers(pair, f"{at} (question {row_id})"))
        yield from _record(pair, row_id, row["passage"], golds, report)


def _answers(pair: Mapping[str, Any], at: str) -> Iterator[str]:
    _shaped(pair.get("question"), str, "question", at)
    validated = _shaped(pair.get("validated_answers") or [], list, "validated_answers", at)
    for answer in (pair.get("answer"), *validated):
        if answer:
            answer = _shaped(answer, Mapping, "an answer", at)
            _shaped(answer.get("spans") or [], list, "answer.spans", at)
            _shaped(answer.get("date") or {}, Mapping, "answer.date", at)
            yield answer_text(answer)


_SHAPES = {list: "a list", str: "text", Mapping: "an object"}


def _shaped(value: Any, kind: Any, name: str, at: str) -> Any:
    if not isinstance(value, kind):
        raise DataError(
            f"{at}: {name} is {value!r:.60} ({type(value).__name__}), but must be {_SHAPES[kind]}; "
            "mend it after the published layout, or take it out."
        )
    return value


def _record(row: Row, row_id: str, text: str, golds: list[str], report: Report) -> Iterator[Record]:
    if not golds:
        return report.drop("no answer", row_id)
    context = [passage("", text)]
    if not context[0]["text"].strip():
        return report.drop("no passages", row_id)
    yield Record(
        id=row_id,
        task="care",
        kind="text",
        question=row["question"].strip(),
        context=context,
        golds=golds,
        evidence=[],
        source="drop",
    )


def answer_text(answer: Mapping[str, Any]) -> str:
    """One annotator's answer as text, by the order of the official evaluation: number, then spans, then date.

    >>> answer_text({"number": "", "date": {"day": "5", "month": "March", "year": "1990"}, "spans": []})
    '5 March 1990'
    >>> answer_text({"number": "3", "date": {}, "spans": []})
    '3'
    """
    number = answer.get("number")
    if number is not None and str(number).strip():
        return str(number).strip()
    spans = distinct(answer.get("spans") or ())
    if spans:
        return ", ".join(spans)
    date = answer.get("date") or {}
    return " ".join(distinct(date.get(part) for part in ("day", "month", "year")))


def flat_golds(answers: Iterable[tuple[str, str]]) -> list[str]:
    """The golds in the hub's flat list of (span, type), which has lost where one annotator's answer ends.

    Numbers and dates are answers by themselves. Spans belong to one answer until one repeats, contains or
    lies within a span of that answer: no annotator lists the same thing twice, so another annotator's answer
    begins there.

    >>> flat_golds([("Bears", "span"), ("Lions", "span")])
    ['Bears, Lions']
    >>> flat_golds([("Smith", "span"), ("John Smith", "span"), ("Smith", "span")])
    ['Smith', 'John Smith']
    >>> flat_golds([("3", "number"), ("three", "span")])
    ['3', 'three']
    """
    golds: list[str] = []
    spans: list[str] = []
    for value, kind in answers:
        text = " ".join(value.split()) if kind == "date" else value.strip()
        alone = kind != "span"
        folded = text.casefold()
        if spans and (alone or any(folded in span.casefold() or span.casefold() in folded for span in spans)):
            golds.append(", ".join(spans))
            spans = []
        if alone:
            golds.append(text)
        else:
            spans.append(text)
    return distinct([*golds, ", ".join(spans)])


def _claims(head: Head) -> bool:
    return head.nested and head.inner_key in ("passage", "qa_pairs", "wiki_url")


def _sections(path: Path) -> Iterator[tuple[str, Row]]:
    for section_id, section in files.json_pairs(path, ""):
        if not isinstance(section, dict):
            section = {section_id: section}  # the check of columns will say what is wrong with it
        yield f"{path}: passage {section_id!r}", {"section_id": section_id, **section}


LAYOUT = Layout(
    "drop",
    (("section_id", "passage", "qa_pairs"), ("query_id", "passage", "question", "answers_spans")),
    records,
    claims=_claims,
    rows=_sections,
)
