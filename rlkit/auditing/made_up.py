"""Rows for an audit without a data set: the made-up worlds, and one small example of each kind that they lack.

Knows no reward and no cheat.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from rlkit.data import dialogues, synthetic
from rlkit.data.jsonl import normalise
from rlkit.data.record import Record

ROWS_PER_LEVEL = 10


def made_up_rows(task: str) -> Iterator[Record]:
    """Rows of a task, the same every time.

    >>> sorted({row["kind"] for row in made_up_rows("memory_t1")})
    ['choice', 'duration', 'order', 'text', 'time']
    """
    if task == "care":
        worlds = [synthetic.generate(level, ROWS_PER_LEVEL) for level in synthetic.LEVELS]
        passages = [synthetic.generate("long", ROWS_PER_LEVEL, seed=1, facts_per_passage=4)]
        yield from chain(*worlds, *passages)
    else:
        asks = {"place": 0.5, "date": 0.5}
        yield from chain(*(dialogues.generate(level, ROWS_PER_LEVEL, asks=asks) for level in dialogues.LEVELS))
    for number, row in enumerate(_CARE if task == "care" else _MEMORY):
        yield normalise({**row, "id": f"example-{number}", "source": "examples"}, "examples")


_NOVELS = [
    "Emma is a novel by Jane Austen. It was first published in December 1815 by John Murray in London. The story is set "
    "in the fictional country village of Highbury and in the surrounding estates of Hartfield and Randalls.",
    "Middlemarch is a novel by the English author George Eliot. It appeared in eight instalments in 1871 and 1872. It is "
    "set in a fictional town in the English Midlands from 1829 to 1832.",
    "The river Douro rises in Spain and flows through Porto before it meets the sea. Its length is about 897 kilometres.",
]
_CARE: list[dict[str, Any]] = [
    {"question": "In which year was Emma first published?", "golds": [1815], "context": _NOVELS,
     "evidence": ["It was first published in December 1815 by John Murray in London."]},
    {"question": "Who wrote Middlemarch?", "golds": ["George Eliot", "Mary Ann Evans"], "context": _NOVELS,
     "evidence": ["Middlemarch is a novel by the English author George Eliot."]},
    {"question": "Which river flows through Porto?", "golds": ["Douro"], "context": _NOVELS},
    {"question": "Are Emma and Middlemarch both novels?", "golds": ["yes"], "context": _NOVELS,
     "evidence": ["Emma is a novel by Jane Austen.", "Middlemarch is a novel by the English author George Eliot."]},
]  # fmt: skip


def _session(number: int, date: str, text: str, summary: str, day: str) -> dict[str, Any]:
    events = [{"summary": summary, "start": day, "end": day}]
    said = {"speaker": "Ann", "text": text, "time": f"{date}T09:00:00", "events": events}
    return {"id": f"session_{number}", "date": f"{date}T09:00:00", "utterances": [said]}


_YEAR = {
    "task": "memory_t1",
    "asked_at": "2024-12-31T10:00:00",
    "sessions": [
        _session(1, "2024-01-10", "I got a dog yesterday.", "Ann got a dog", "2024-01-09"),
        _session(2, "2024-03-05", "I moved to Porto on Monday.", "Ann moved to Porto", "2024-03-04"),
        _session(3, "2024-05-20", "Today I sold my car.", "Ann sold her car", "2024-05-20"),
        _session(4, "2024-06-20", "Yesterday I bought a boat.", "Ann bought a boat", "2024-06-19"),
        _session(5, "2024-09-02", "I learned to sail last week.", "Ann learned to sail", "2024-08-27"),
    ],
}
_OPTIONS = "\nA. She got a dog.\nB. She moved to Porto.\nC. She sold her car.\nD. She bought a boat."
_FROM_MARCH = ["2024-03-01", "2024-05-31"]
_MEMORY: list[dict[str, Any]] = [
    {**_YEAR, "kind": "choice", "question": f"What did Ann do in early March?{_OPTIONS}", "golds": "B",
     "evidence": "session_2", "time_range": ["2024-03-01", "2024-03-10"]},
    {**_YEAR, "kind": "choice", "question": f"Which of these did Ann do from March to May?{_OPTIONS}", "golds": "B  C",
     "evidence": ["session_2", "session_3"], "time_range": _FROM_MARCH},
    {**_YEAR, "kind": "time", "question": "When did Ann move to Porto?", "golds": "2024-03-04", "evidence": "session_2",
     "time_range": ["2024-03-01", None]},
    {**_YEAR, "kind": "duration", "question": "How long after moving to Porto did Ann sell her car?", "golds": "77 days",
     "evidence": ["session_2", "session_3"], "time_range": _FROM_MARCH},
    {**_YEAR, "kind": "duration", "question": "How long after her call did Ann leave?", "golds": "3 hours",
     "evidence": ["session_3"], "time_range": _FROM_MARCH},
    {**_YEAR, "kind": "text", "question": "What did Ann learn in August?", "golds": "how to sail", "evidence": "session_5",
     "time_range": ["2024-08-01", "2024-08-31"]},
    {**_YEAR, "kind": "order", "question": "In which order? (1) boat (2) dog (3) Porto (4) car", "golds": "(2)(3)(4)(1)",
     "evidence": ["session_1", "session_2", "session_3", "session_4"], "time_range": ["2024-01-01", "2024-06-30"]},
]  # fmt: skip
