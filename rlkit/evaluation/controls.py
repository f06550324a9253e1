"""Answers that no model gave: one for every question, the gold one, none at all. What they score is what a score is worth.

A control is `Record -> completion`, well formed in the format of the record's task wherever that is possible, so that any
suite scores it like a model's. Knows formats and labels; refuses to know metrics.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rewards.gold import gold_completion
from rewards.sample import Sample
from rlkit.data.locomo import NOT_THERE as _NOT_THERE
from rlkit.evaluation.metrics.locomo import ADVERSARIAL, OPEN_DOMAIN

LETTERS = ("A", "B", "C", "D")
NOT_THERE = _NOT_THERE[0]

Control = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class always:
    """The same answer to every question, without a quote or a session.

    >>> always("A")({"task": "memory_t1"})
    '{"selected_memory": [], "answer": "A"}'
    >>> always("yes")({"task": "care"})
    '<think></think> Answer: yes'
    """

    answer: str

    def __call__(self, record: Mapping[str, Any]) -> str:
        if _is_memory(record):
            return json.dumps({"selected_memory": [], "answer": self.answer}, ensure_ascii=False)
        return f"<think></think> Answer: {self.answer}"


def gold(record: Mapping[str, Any]) -> str:
    """The record's own labels: its evidence and its answer, the first of several (`rewards.gold`).

    Of a LoCoMo question it is what the official scoring compares with: an open-domain gold up to its first ";", and for an
    adversarial question that the information is not there, also where the data set has another answer.

    >>> gold({"task": "memory_t1", "kind": "choice", "golds": ["B  C"], "evidence": ["s1"], "sessions": [{"id": "s1"}]})
    '{"selected_memory": ["s1"], "answer": "B  C"}'
    """
    if record.get("category") == OPEN_DOMAIN:
        record = {**record, "golds": [text.split(";")[0].strip() for text in record["golds"]]}
    elif record.get("category") == ADVERSARIAL:
        record = {**record, "golds": [NOT_THERE]}
    if _is_memory(record) and record.get("evidence"):
        record = {**record, "task": "memory_t1", "sessions": []}  # the labels name them; copying them takes longest
    return gold_completion(Sample.from_record(record, completion=""))


def empty(record: Mapping[str, Any]) -> str:
    """No answer: the format with nothing in it, which Memory-T1 counts as unreadable."""
    return always("")(record)


def controls_for(records: Iterable[Mapping[str, Any]]) -> dict[str, Control]:
    """The controls that make sense for these records, by name: gold and empty always, and constants by what is asked.

    >>> list(controls_for([{"task": "memory_t1", "kind": "choice"}]))
    ['gold', 'empty', 'always A', 'always B', 'always C', 'always D']
    """
    chosen: dict[str, Control] = {"gold": gold, "empty": empty}
    constants: dict[str, None] = {}
    for record in records:
        if record.get("kind") == "choice":
            constants |= dict.fromkeys(LETTERS)
        elif record.get("category") == ADVERSARIAL:
            constants[NOT_THERE] = None
        elif not _is_memory(record):
            constants |= dict.fromkeys(("yes", "no"))
    return chosen | {f"always {answer}": always(answer) for answer in sorted(constants, key=str.casefold)}


def _is_memory(record: Mapping[str, Any]) -> bool:
    return record.get("task") == "memory_t1" or (not record.get("task") and bool(record.get("sessions")))
