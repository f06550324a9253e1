"""Each session of a memory as the Memory-T1 parts see it: selected, labelled, in the question's range, and its events.

Asks `temporal_consistency` itself, so that it cannot disagree with it. Knows no weight and no total.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewards.dates import first_moment, last_moment, read_date
from rewards.errors import RowError
from rewards.parse_memory import session_key
from rewards.sample import Sample
from rewards.temporal import SessionScore, temporal_consistency

VERDICTS = {1.0: "inside the range", 0.5: "partly inside the range", -1.0: "outside the range"}


@dataclass(frozen=True)
class EventNote:
    """An event that a session tells of; `score` is set where it concerns the question and can be judged (R_f)."""

    summary: str
    start: str | None
    end: str | None
    score: float | None


@dataclass(frozen=True)
class SessionNote:
    """A session of the memory, or an id that was selected though no session has it (`exists` false).

    `in_range` is `None` where the question has no known range or the session no date. `when` is R_s and `value` what
    the session is worth, both `None` where the row cannot be judged. `first` and `last` bound its date, as ISO times.
    """

    id: str
    exists: bool
    selected: bool
    gold: bool
    date: str | None
    in_range: bool | None
    when: float | None
    value: float | None
    events: tuple[EventNote, ...]
    reason: str


def sessions_of(sample: Sample, part: temporal_consistency) -> tuple[SessionNote, ...]:
    """Every session in the memory's order, then the selected ids that no session has.

    >>> row = Sample(sessions=[{"id": "s1", "date": "2024-04-07"}], time_range=("2024-03-01", "2024-03-31"), evidence="s1",
    ...              completion='{"selected_memory": ["s1"], "answer": "B"}')
    >>> [(note.selected, note.gold, note.value, note.reason) for note in sessions_of(row, temporal_consistency())]
    [(True, True, 0.25, 'selected, labelled; 7 days outside the range')]
    """
    selected = set(sample.memory.selected)
    gold = {session_key(name) for name in sample.evidence}
    judged = _judged(sample, part)
    notes = []
    for session in sample.sessions:
        key = session_key(session.id)
        score = judged.get(key)
        known = {id(event): value for event, value in score.events} if score else {}
        events = tuple(
            EventNote(event.summary, event.start, event.end, known.get(id(event)))
            for said in session.utterances
            for event in said.events
        )
        in_range = None if score is None or session.date is None else score.when == 1.0
        when, value = (score.when, score.value) if score else (None, None)
        told = _told(sample, key in selected, key in gold, session.date, score)
        notes.append(
            SessionNote(
                session.id, True, key in selected, key in gold, session.date, in_range, when, value, events, told
            )
        )
    present = {session_key(session.id) for session in sample.sessions}
    for key in sample.memory.selected:
        if key not in present:
            worth = part.bounds[0] if judged else None
            told = "selected, but there is no such session"
            notes.append(SessionNote(key, False, True, key in gold, None, None, None, worth, (), told))
    return tuple(notes)


def moments(text: str | None) -> tuple[str, str] | None:
    """The first and the last second of what a date covers, as ISO times; `None` for none, or one that cannot be read.

    >>> moments("2024-02")
    ('2024-02-01T00:00:00', '2024-02-29T23:59:59')
    """
    fields = None if text is None else read_date(text)
    try:
        return None if fields is None else (first_moment(fields).isoformat(), last_moment(fields).isoformat())
    except ValueError:
        return None


def _judged(sample: Sample, part: temporal_consistency) -> dict[str, SessionScore]:
    """What each session would earn if it were selected; nothing where dates or ids forbid to say."""
    try:
        if not part.applies(sample):
            return {}
        return part.all_judged(sample)
    except RowError:
        return {}


def _told(sample: Sample, selected: bool, gold: bool, date: str | None, score: SessionScore | None) -> str:
    told = ["selected" if selected else "not selected", *(["labelled"] if gold else [])]
    reason = ", ".join(told)
    if score is None:
        return reason
    if date is None:
        reason += "; has no date"
    elif score.when == 1.0:
        reason += "; in the range"
    else:
        days = score.gap_days
        reason += f"; {days:g} day{'s' if days != 1 else ''} outside the range"
    for event, value in score.events:
        reason += f"; event “{event.summary[:80]}” {VERDICTS[value]}"
    return reason
