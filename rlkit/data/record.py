"""The one shape that every loader produces: a plain dict, one JSON object a line on disk.

Knows the layout and how to bring user rows into it; knows no file format, no prompt and no reward.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Passage(TypedDict):
    title: str
    text: str


class Record(TypedDict, total=False):
    """One question with its input and its labels.

    `golds` holds every accepted answer (never empty); `evidence` holds verbatim supporting sentences or passages
    for task `care`, session ids for task `memory_t1`, and is empty where nothing is labelled.
    """

    id: str
    task: str
    kind: str
    question: str
    context: list[Passage]
    golds: list[str]
    evidence: list[str]
    source: str
    asked_at: str | None
    time_range: list[str | None] | None
    sessions: list[dict[str, Any]]
    completion: str
