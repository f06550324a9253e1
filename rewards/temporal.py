"""Temporal consistency for Memory-T1: do the selected sessions, and what they tell of, lie in the question's time range?

Knows dates of sessions and events; refuses to know which sessions are gold and which answer is right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from rewards.dates import Fields, first_moment, gap_days, is_before, last_moment, read_date
from rewards.errors import RewardError, RowError
from rewards.parse_memory import session_key
from rewards.sample import Event, Sample, Session

_WORD = re.compile(r"[^\W_]+")
_COMMON = """a about after all also an and any are as at be because been before being between but by can could did do does
    during each first for from get go had has have he her hers him his how i if in into is it its just last long many
    me more most much my next no not of on one or other our out over s second she should so some t than that the their
    them then there these they this time to took two up us was we were what when where which while who whom whose why
    will with would year years you your date day days week weeks month months happen happened"""
_STOP_WORDS = frozenset(_COMMON.split())
_SUFFIXES = ("ing", "ied", "ies", "ed", "es", "s")


def events_in_question(sample: Sample, session: Session) -> list[Event]:
    """The events of a session that concern the question: half the content words of the shorter of the two are shared.

    Content words are what remains without stop words, word endings and the names of the speakers, who take part in
    nearly everything that a memory tells.

    >>> from rewards.sample import Utterance
    >>> talk = Utterance("Ann", "", events=(Event("Ann adopted a dog"), Event("Ann moved to Rome")))
    >>> row = Sample(question="When did Ann adopt her dog?")
    >>> [event.summary for event in events_in_question(row, Session("s1", utterances=(talk,)))]
    ['Ann adopted a dog']
    """
    speakers: frozenset[str] = frozenset().union(*(_content_words(said.speaker) for said in session.utterances))
    question = _content_words(sample.question) - speakers
    events = []
    for event in (event for said in session.utterances for event in said.events):
        summary = _content_words(event.summary) - speakers
        shorter = min(len(question), len(summary))
        if shorter and 2 * len(question & summary) >= shorter:
            events.append(event)
    return events


class SessionScore(NamedTuple):
    """What one selected session earns: `when` for its date (R_s), and each of its events that were judged (R_f).

    `session` is `None` where none has the id; `gap_days` is 0 in the range and without a date.
    """

    id: str
    session: Session | None
    gap_days: float
    when: float
    events: tuple[tuple[Event, float], ...]
    value: float


@dataclass(frozen=True)
class temporal_consistency:
    """R_t = ½·R_s + ½·R_f, the mean over the distinct selected sessions (Memory-T1, "Reward").

    R_s judges when a session took place: 1 in the question's range, else `height / (1 + exp((gap - midpoint_days) /
    width_days)) - floor` with the gap in days between session and range. R_f judges when the events that concern the
    question happened, as their mean: 1 inside the range, 0.5 partial overlap, -1 disjoint. `events` picks those events;
    a session without one is judged by R_s alone.

    An unknown bound of the range is open. An event with one unknown bound earns what is certain: -1 unless its known
    bound lies in the range, and more than 0.5 only if the range is open to the unknown side too; with both unknown it
    is not judged. A session without a date earns R_s = -floor. An id that does not exist and an empty selection earn
    the minimum, -0.75 with the default parameters.

    Applies to rows with a known bound and a dated session; `None` for a completion that cannot be read. Raises
    `RowError` for dates that cannot be read and for two sessions with one id.

    >>> row = Sample(time_range=("2024-03-01", "2024-03-31"), sessions=[{"id": "s1", "date": "2024-04-07"}],
    ...              completion='{"selected_memory": ["s1"], "answer": "B"}')
    >>> temporal_consistency()(row)
    0.25
    """

    height: float = 1.5
    floor: float = 0.5
    midpoint_days: float = 7.0
    width_days: float = 1.0
    events: Callable[[Sample, Session], Sequence[Event]] = events_in_question

    def __post_init__(self) -> None:
        numbers = (self.height, self.floor, self.midpoint_days, self.width_days)
        finite = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        if not finite or self.width_days <= 0:
            raise RewardError(
                f"height, floor, midpoint_days and width_days are {numbers}, but must be finite numbers with width_days "
                "above 0, else the score is no number; leave them out for the published values."
            )
        if not (0 <= self.floor <= 1 and 0 <= self.height <= 1 + self.floor):
            raise RewardError(
                f"height is {self.height} and floor {self.floor}, but 0 <= floor <= 1 and 0 <= height <= 1 + floor must "
                "hold, else a session outside the range could earn more than one inside; lower the height."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """From wrong on both levels to right on both."""
        return (-self.floor - 1.0) / 2.0, 1.0

    def applies(self, sample: Sample) -> bool:
        if not _can_judge(sample):
            return False
        # Every date is read here, so that a bad one shows before training and not when a rollout selects its session.
        for session in sample.sessions:
            for event in (event for said in session.utterances for event in said.events):
                _event_dates(session, event)
        return True

    def __call__(self, sample: Sample) -> float | None:
        if not sample.memory.ok or not _can_judge(sample):
            return None
        scores = [session.value for session in self.judged(sample)]
        return math.fsum(scores) / len(scores) if scores else self.bounds[0]

    def judged(self, sample: Sample) -> list[SessionScore]:
        """What each selected session earns, for a completion and a row that can be judged; the value is their mean."""
        sessions = _sessions(sample)
        return [self._judge(sample, key, sessions.get(key)) for key in sample.memory.selected]

    def all_judged(self, sample: Sample) -> dict[str, SessionScore]:
        """What each session of a row that can be judged would earn if it were selected."""
        return {key: self._judge(sample, key, session) for key, session in _sessions(sample).items()}

    def _judge(self, sample: Sample, key: str, session: Session | None) -> SessionScore:
        if session is None:
            return SessionScore(key, None, 0.0, -self.floor, (), self.bounds[0])
        start, end = _range(sample)
        date = _date("session", session.id, session.date)
        gap = 0.0 if date is None else _gap(date, start, end)
        when = -self.floor if date is None else self._at_gap(gap)
        dated = [(event, *_event_dates(session, event)) for event in self.events(sample, session)]
        events = tuple((event, _event_score(a, b, start, end)) for event, a, b in dated if a or b)
        value = (when + math.fsum(score for _, score in events) / len(events)) / 2.0 if events else when
        return SessionScore(key, session, gap, when, events, value)

    def _at_gap(self, gap: float) -> float:
        if gap <= 0:
            return 1.0
        # The logistic function in the form that cannot overflow, however long the gap.
        decay = math.exp(-abs(gap - self.midpoint_days) / self.width_days)
        near = (1.0 if gap <= self.midpoint_days else decay) / (1.0 + decay)
        return self.height * near - self.floor


def _gap(date: Fields, start: Fields | None, end: Fields | None) -> float:
    """Days between a date and a range, 0 inside."""
    if start and is_before(date, start):
        return gap_days(date, start)
    return gap_days(end, date) if end and is_before(end, date) else 0.0


def _can_judge(sample: Sample) -> bool:
    dates = [_date("session", session.id, session.date) for session in _sessions(sample).values()]
    return any(_range(sample)) and any(dates)


def _event_score(first: Fields | None, last: Fields | None, start: Fields | None, end: Fields | None) -> float:
    known = [date for date in (first, last) if date]
    if (start and is_before(known[-1], start)) or (end and is_before(end, known[0])):
        return -1.0
    holds_start = start is None or (first is not None and not _later(start, first, first_moment))
    holds_end = end is None or (last is not None and not _later(last, end, last_moment))
    return 1.0 if holds_start and holds_end else 0.5


def _later(one: Fields, other: Fields, moment: Callable[[Fields], datetime]) -> bool:
    # A date without a time covers its day, so it is not cut off by a range that begins in the middle of that day.
    if len(one) == len(other) == 6:
        return moment(one) > moment(other)
    return moment(one).date() > moment(other).date()


def _range(sample: Sample) -> tuple[Fields | None, Fields | None]:
    start, end = sample.time_range or (None, None)
    first, last = _date("time_range", "start", start), _date("time_range", "end", end)
    if first and last and is_before(last, first):
        raise RowError(
            f"time_range starts at {start} and ends before that, at {end}, so no session could lie in it; exchange the "
            "bounds."
        )
    return first, last


def _event_dates(session: Session, event: Event) -> tuple[Fields | None, Fields | None]:
    first = _date(f"event of session {session.id}", "start", event.start)
    last = _date(f"event of session {session.id}", "end", event.end)
    return (last, first) if first and last and is_before(last, first) else (first, last)


def _date(what: str, name: str, text: str | None) -> Fields | None:
    if text is None:
        return None
    fields = read_date(text)
    if fields is None:
        raise RowError(
            f"{what} {name} has the date {text!r:.80}, which cannot be read, so it cannot be judged; write it as "
            "2024-03-05 or 2024-03-05T09:00:00, or null where it is unknown."
        )
    return fields


def _sessions(sample: Sample) -> dict[str, Session]:
    sessions = {session_key(session.id): session for session in sample.sessions}
    if len(sessions) < len(sample.sessions):
        raise RowError("two sessions have the same id, so a selection of it is ambiguous; give each its own.")
    return sessions


@lru_cache(maxsize=1 << 14)
def _content_words(text: str) -> frozenset[str]:
    words = {word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS}
    return frozenset(map(_stem, words))


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) >= len(suffix) + 3:
            word = word[: -len(suffix)] + ("y" if suffix in ("ied", "ies") else "")
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
