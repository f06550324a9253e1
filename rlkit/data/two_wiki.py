"""2WikiMultihopQA: two- and four-hop questions over ten Wikipedia paragraphs, with labelled supporting sentences.

Reads the original release (HotpotQA's layout with `evidences`) and its hub releases: nested columns as lists, as
objects with `sentences` or `content`, or as JSON text. Knows the release's file of other names for an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlkit.data import files
from rlkit.data.hotpotqa import with_facts
from rlkit.data.layout import Layout, Report, Row, distinct, entries
from rlkit.data.record import Record
from rlkit.errors import DataError


@dataclass
class Reader:
    """The records of one source; holds the other names of answers, if the source names their file, while it is used.

    `subtask` is the type of the question: comparison, inference, compositional or bridge_comparison. With `aliases`
    (the release's `id_aliases.json`) the other names of the answer are golds too, as in the official evaluation v1.1.

    >>> row = {"_id": "q1", "question": "Who is the mother of Ann's son?", "answer": "Ann", "type": "inference",
    ...        "supporting_facts": {"title": ["Bob"], "sent_id": [0]},
    ...        "context": {"title": ["Bob"], "content": [["Bob is the son of Ann.", "He is a baker."]]}}
    >>> record = next(Reader()(row, Report(), "file:1"))
    >>> record["context"], record["evidence"], record["subtask"]
    ([{'title': 'Bob', 'text': 'Bob is the son of Ann. He is a baker.'}], ['Bob is the son of Ann.'], 'inference')
    """

    paths: Mapping[str, Path] = field(default_factory=dict)

    def __call__(self, row: Row, report: Report, where: str) -> Iterator[Record]:
        """The record of one question; the test split has no answers, so its questions are dropped and counted."""
        row = {**row, "supporting_facts": _read(row["supporting_facts"]), "context": _read(row["context"])}
        answers = [row["answer"], *self._aliases.get(str(row.get("answer_id")), ())]
        yield from with_facts(row, _paragraphs(row["context"]), answers, "2wikimultihopqa", report)

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        path = self.paths.get("aliases")
        if path is None:
            return {}
        names = {}
        for where, row in files.read_rows(path):
            if "Q_id" not in row or "aliases" not in row:
                raise DataError(
                    f"{where}: the columns here are {', '.join(row)}, but a file of aliases has Q_id, aliases and "
                    "demonyms a line; give the release's id_aliases.json."
                )
            names[str(row["Q_id"])] = distinct([*row["aliases"], *(row.get("demonyms") or ())])
        return names


def _read(value: Any) -> Any:
    """A nested column; one hub release keeps them as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _paragraphs(context: Any) -> list[tuple[Any, ...]]:
    first = context if isinstance(context, Mapping) else next(iter(context or ()), None)
    named = isinstance(first, Mapping) and "content" in first
    return entries(context, "title", "content" if named else "sentences")


_SHARED = ("question", "answer", "supporting_facts", "context", "type")
LAYOUT = Layout(
    "2wikimultihopqa", (("_id", *_SHARED), ("id", *_SHARED)), Reader(), files=("aliases",), with_files=Reader
)
