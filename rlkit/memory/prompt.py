"""How a memory stands in the prompt, and how its output format is told in words.

Knows sessions, dates and the output format; knows no tokenizer, no reward and no candidate search. Events are labels
for the search and the reward: the model reads the dialogue alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.dates import Fields, first_moment, read_date

MEMORY_SYSTEM = (
    "Answer the question from the dialogue sessions; each stands under its id and date. What is told may have happened on "
    "another day: resolve words such as 'last week' against the day on which they were said. Reply with one JSON object "
    "and nothing else:\n"
    '{"selected_memory": ["session_1"], "answer": "B"}\n'
    "selected_memory: the ids of all sessions that the answer needs, and no others.\n"
    "answer, by what is asked for:\n"
    '- options: the letter, or all right letters: "B" or "A C"\n'
    '- a time, as exact as known: "May 2023", "January 15, 2024" or "10:45 pm, January 15, 2024"\n'
    '- a duration: "2 weeks 3 days"\n'
    '- an order: the numbers of the items: "(2)(1)(3)"\n'
    "- anything else: a few words"
)

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def memory_body(record: Mapping[str, Any]) -> str:
    """The user's message: the sessions in the record's order, the question, and when it was asked if the record says so.

    >>> talk = {"speaker": "Ann", "text": "I got a dog last week!", "time": "2024-03-05T09:02:00"}
    >>> session = {"id": "session_3", "date": "2024-03-05T09:00:00", "utterances": [talk]}
    >>> print(memory_body({"sessions": [session], "question": "When did Ann get a dog?", "asked_at": "2024-05-01"}))
    session_3 (2024-03-05 09:00, Tuesday)
    [09:02] Ann: I got a dog last week!
    <BLANKLINE>
    Question: When did Ann get a dog?
    Asked at: 2024-05-01, Wednesday
    """
    sessions = [session_text(session) for session in record.get("sessions") or ()]
    asked = f"\nAsked at: {written_date(record['asked_at'])}" if record.get("asked_at") else ""
    return "\n\n".join([*sessions, f"Question: {record['question']}{asked}"])


def session_text(session: Mapping[str, Any]) -> str:
    """One session as the prompt shows it: id, date with its weekday, and who said what at which time.

    An utterance's time is left out where it is the session's, and its day where that is the session's.
    """
    date = session.get("date")
    lines = [f"{session['id']} ({written_date(date) if date else 'no date'})"]
    start = read_date(date) if date else None
    for said in session.get("utterances") or ():
        time = _time(said["time"], start) if said.get("time") else ""
        speaker = f"{said['speaker']}: " if said.get("speaker") else ""
        lines.append(f"{time}{speaker}{said.get('text') or ''}")
    return "\n".join(lines)


def _time(text: str, session: Fields | None) -> str:
    fields = read_date(text)
    if fields is None or session is None or fields[:3] != session[:3]:
        return f"[{written_date(text)}] "
    if fields == session or len(fields) < 6:
        return ""
    return f"[{_clock(fields)}] "


def written_date(text: str) -> str:
    """A date with its weekday, which small models cannot work out; as it stands where it cannot be read."""
    fields = read_date(text)
    if fields is None:
        return text
    day = "-".join(f"{number:02}" for number in fields[:3])
    clock = f" {_clock(fields)}" if len(fields) == 6 else ""
    weekday = f", {_WEEKDAYS[first_moment(fields).weekday()]}" if len(fields) >= 3 else ""
    return f"{day}{clock}{weekday}"


def _clock(fields: Fields) -> str:
    hour, minute, second = fields[3:]
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")
