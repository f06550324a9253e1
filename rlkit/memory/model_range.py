"""The time range of a question as a language model reads it, behind any OpenAI-compatible endpoint.

Knows the prompt and the one form of answer that counts; refuses to guess: an answer in another form is counted and
means unknown.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

from rlkit.generation.endpoint import Endpoint
from rlkit.journal import Journal
from rlkit.memory.mentions import shift
from rlkit.memory.time_range import UNKNOWN, TimeRange

PROMPT = """\
You read a question about past conversations and say which time range it asks about, so that conversations outside it
can be set aside. Resolve expressions such as "last week" against the day of asking; if that is unknown, so are they.
A bound that the question does not give is null: never invent one, and never use today's date. When in doubt, make the
range wider. For a question that compares several events or asks how long something took, both bounds are null.
Answer with one JSON object and nothing else:
{"start": "YYYY-MM-DD" or null, "end": "YYYY-MM-DD" or null}"""
MAX_ANSWER_CHARS = 100_000

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OBJECT = re.compile(r"\{[^{}]*\}")


class model_based:
    """Ask a model for a question's time range; `margin_days` widens each known bound.

    Answers are kept in the journal by a hash of model, sampling settings and prompt; a kept one is never asked again,
    unparsable ones included. `counts` says how many were asked, cached and unparsable, and the tokens paid for. Source:
    Memory-T1, "Candidate generation", step (a). Raises what `Endpoint.ask` and `Journal` raise.
    """

    def __init__(self, endpoint: Endpoint, journal: str | Path, margin_days: int = 0) -> None:
        if not isinstance(margin_days, int) or margin_days < 0:
            raise ValueError(f"margin_days is {margin_days!r}, but must be 0 or a whole number of days above it.")
        self.endpoint = endpoint
        self.journal = Journal(journal)
        self.margin_days = margin_days
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def __repr__(self) -> str:
        return f"model_based({self.endpoint!r}, {str(self.journal.path)!r}, margin_days={self.margin_days})"

    def __call__(self, question: str, asked_at: str | None = None) -> TimeRange:
        answer = self._answer(question, asked_at)
        bounds = parse_range(answer)
        if bounds is None:
            self._count(unparsable=1)
            return UNKNOWN
        start, end = bounds
        return _moved(start, -self.margin_days), _moved(end, self.margin_days)

    def predict_all(self, questions: Iterable[tuple[str, str | None]]) -> list[TimeRange]:
        """The ranges of many (question, asked_at), the endpoint's `concurrency` at a time; repeated ones are asked once."""
        rows = list(questions)
        distinct = list(dict.fromkeys(rows))
        found = dict(zip(distinct, self.endpoint.each(lambda row: self(*row), distinct), strict=True))
        return [found[row] for row in rows]

    def _answer(self, question: str, asked_at: str | None) -> str:
        messages = [
            {"role": "system", "content": PROMPT},
            {"role": "user", "content": f"Day of asking: {asked_at or 'unknown'}\nQuestion: {question}"},
        ]
        asked = json.dumps([self.endpoint.model, dict(self.endpoint.sampling), messages], sort_keys=True, default=str)
        key = hashlib.sha256(asked.encode()).hexdigest()
        kept = self.journal.get(key)
        if isinstance(kept, str):
            self._count(cached=1)
            return kept
        reply = self.endpoint.ask(messages)
        self.journal.put(key, reply.text)
        self._count(asked=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        return reply.text

    def _count(self, **what: int) -> None:
        with self._lock:
            self.counts.update(what)


def _moved(day: str | None, days: int) -> str | None:
    return shift(date.fromisoformat(day), timedelta(days)).isoformat() if day else None


def parse_range(answer: str) -> TimeRange | None:
    """The range that an answer gives, or `None` when it holds no or more than one reading of `{"start", "end"}`.

    A draft before `</think>`, a code fence and prose around the object do not matter; a date in another form, an
    impossible day, a further key and an end before the start do.

    >>> parse_range('{"start": "2021-05-01", "end": null}'), parse_range("```json\\n{\\"start\\": null, \\"end\\": null}\\n```")
    (('2021-05-01', None), (None, None))
    >>> parse_range('{"start": "May 2021", "end": null}') is parse_range("I do not know") is None
    True
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return None
    readings = {_read(text) for text in _OBJECT.findall(answer[max(answer.rfind("</think>"), 0) :])}
    return readings.pop() if len(readings) == 1 else None


def _read(text: str) -> TimeRange | None:
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except ValueError:
        return None
    value = dict(pairs)
    if len(pairs) != 2 or set(value) != {"start", "end"}:
        return None
    start, end = value["start"], value["end"]
    for day in (start, end):
        if day is None:
            continue
        if not isinstance(day, str) or not _DAY.fullmatch(day):
            return None
        try:
            date.fromisoformat(day)
        except ValueError:  # a thirtieth of February
            return None
    return None if start and end and start > end else (start, end)
