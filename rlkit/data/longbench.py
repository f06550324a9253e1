"""LongBench and CofCA: questions over one long text, with every accepted answer.

Reads the rows of the release and of the hub (`input`, `context`, `answers`), a file or hub subset for each data set.
Evidence is not labelled; a file of the data set that the questions come from may bring it. Knows no prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

from rlkit.data import files, hotpotqa, musique, two_wiki
from rlkit.data.layout import Layout, Report, Row, distinct
from rlkit.data.record import Passage, Record
from rlkit.errors import DataError

_HEADING = re.compile(r"^Passage ([0-9]{1,4}):\n", re.MULTILINE)
_COLUMNS = ("dataset", "length", "language")
_LABELLED = (hotpotqa.LAYOUT, two_wiki.LAYOUT, musique.LAYOUT)


@dataclass
class Reader:
    """The records of one source; holds the facts, if the source names their file, while it is used.

    Multi-hop contexts become a passage for each "Passage 1:" heading, others one passage; `joined_by` is what stands
    between them, so that `context_text` gives the published text back. `dataset`, `length` (words) and `language` are
    columns. With `facts` (HotpotQA's, 2WikiMultihopQA's or MuSiQue's own file) a question takes over its evidence.

    >>> row = {"_id": "a1", "input": "Who wrote Emma?", "answers": ["Jane Austen"], "dataset": "hotpotqa", "length": 9,
    ...        "context": "Passage 1:\\nEmma\\nEmma is by Jane Austen.\\nPassage 2:\\nBath\\nBath is a city.", "language": "en"}
    >>> record = next(Reader()(row, Report(), "hotpotqa.jsonl:1"))
    >>> record["context"][1], record["golds"], record["length"]
    ({'title': 'Passage 2:', 'text': 'Bath\\nBath is a city.'}, ['Jane Austen'], 9)
    >>> context_text(record) == row["context"]
    True
    """

    paths: Mapping[str, Path] = field(default_factory=dict)

    def __call__(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        """The record of one question; rows of the release that ask nothing (summaries) are dropped and counted."""
        row_id = str(row["_id"]) if row.get("_id") is not None else where.rsplit("/", 1)[-1]
        answers = row["answers"]
        golds = distinct([answers] if isinstance(answers, str) else answers or ())
        question, text = row["input"].strip(), row["context"]
        for lacking, there in (("no question", question), ("no answer", golds), ("no passages", text.strip())):
            if not there:
                return report.drop(lacking, row_id)
        passages, joined_by = split(text)
        evidence = self._facts.get(_folded(question), [])
        if "facts" in self.paths:
            self._note(evidence, text, report, row_id)
        record = Record(
            id=row_id,
            task="care",
            kind="text",
            question=question,
            context=passages,
            golds=golds,
            evidence=evidence,
            source="longbench",
        )
        own = {key: row[key] for key in _COLUMNS if row.get(key) is not None}
        if len(passages) > 1:
            own["joined_by"] = joined_by
        yield cast(Record, {**record, **own})

    def _note(self, evidence: list[str], text: str, report: Report, row_id: str) -> None:
        folded = _folded(text)
        if not evidence:
            report.note("the file of facts does not hold the question", row_id)
        elif not all(_folded(fact) in folded for fact in evidence):
            report.note("evidence is not in the input word for word", row_id)

    @cached_property
    def _facts(self) -> dict[str, list[str]]:
        path = self.paths.get("facts")
        if path is None:
            return {}
        facts = {}
        for where, row in files.read_rows(path):
            layout = next((layout for layout in _LABELLED if layout.fits(row)), None)
            if layout is None:
                raise DataError(
                    f"{where}: the columns here are {', '.join(row)}, but facts come from a file in one of the layouts "
                    f"{', '.join(layout.name for layout in _LABELLED)}; give the data set's own file."
                )
            for record in layout.records(row, Report(), where):
                facts[_folded(record["question"])] = record["evidence"]
        return facts


def split(text: str) -> tuple[list[Passage], str]:
    """The passages of a published context, each with its heading as title, and the newlines between them.

    Headings count up from 1, so that a line that merely looks like one stays where it is.

    >>> split("Passage 1:\\nEmma\\n\\nPassage 2:\\nBath")
    ([{'title': 'Passage 1:', 'text': 'Emma'}, {'title': 'Passage 2:', 'text': 'Bath'}], '\\n\\n')
    >>> split("A report.\\nPassage 3:\\nof it")
    ([{'title': '', 'text': 'A report.\\nPassage 3:\\nof it'}], '')
    """
    headings: list[re.Match[str]] = []
    for match in _HEADING.finditer(text):
        if int(match[1]) == len(headings) + 1:
            headings.append(match)
    if not headings or headings[0].start():
        return [Passage(title="", text=text)], ""
    ends = [*(match.start() for match in headings[1:]), len(text)]
    bodies = [text[match.end() : end] for match, end in zip(headings, ends, strict=True)]
    # The shortest gap is what joins; a longer one leaves its other newlines at the end of the passage.
    gap = min((len(body) - len(body.rstrip("\n")) for body in bodies[:-1]), default=0)
    bodies = [body[:-gap] for body in bodies[:-1]] + bodies[-1:] if gap else bodies
    titles = [match[0].rstrip("\n") for match in headings]
    return [Passage(title=title, text=body) for title, body in zip(titles, bodies, strict=True)], "\n" * gap


def context_text(record: Mapping[str, object]) -> str:
    """The context as it was published, from the passages that the record has."""
    passages = cast(list[Passage], record["context"])
    texts = [f"{passage['title']}\n{passage['text']}" if passage["title"] else passage["text"] for passage in passages]
    return str(record.get("joined_by", "\n\n")).join(texts)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


LAYOUT = Layout("longbench", (("input", "context", "answers"),), Reader(), files=("facts",), with_files=Reader)
