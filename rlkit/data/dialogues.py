"""A seeded made-up world of dated talk, in which what is told on one day happened on another.

A memory is a handful of sessions. In each someone tells of one visit, of the same day or an earlier one, so the day
of the visit is the session's date less what the words say. A question is answered only by matching a person and a
resolved day. This module knows no model.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, cast

from rlkit.data import facts
from rlkit.data.demonstrations import demonstrated
from rlkit.data.facts import SPLITS, split_of
from rlkit.data.record import Record
from rlkit.errors import ConfigError, nearest

PEOPLE = facts.NAMES[:8]  # few words, each seen often: a tiny model learns them in minutes
PLACES = facts.PLACES[:16]
TOLD = {"Today": 0, "Yesterday": 1, "Two days ago": 2, "A week ago": 7}  # words -> days before the session
FIRST_DAY = date(2024, 3, 1)
DAYS = 24
FIRST_SESSION_DAY = max(TOLD.values())  # a visit told of a week later, and one told of on its day, are in range
WINDOW_DAYS = 10  # the sessions of a memory lie this close together, so that days recur in it
SESSION_NUMBERS = range(1, 17)
MIN_SESSIONS = 5  # the answer and its four distractors, see `draw_talks`
MAX_SESSIONS = 12
ASKS = ("place", "date")
USUAL = dict(zip(PEOPLE, PLACES, strict=False))  # where a person goes as a rule, in memories with `typical` places

LEVELS: dict[str, dict[str, Any]] = {
    "easy": {"told": ("Today",), "sessions": (5, 6)},
    "hard": {"told": tuple(TOLD), "sessions": (5, 6)},
    "long": {"told": tuple(TOLD), "sessions": (8,)},
}


class Talk(NamedTuple):
    """One session: who tells of which visit, and on which day (counted from `FIRST_DAY`).

    >>> talk = Talk("Ada", day=9, words="Yesterday", place="Fenwick")
    >>> talk.text, iso(talk.day), iso(talk.visit_day)
    ('Yesterday I visited Fenwick.', '2024-03-10', '2024-03-09')
    """

    speaker: str
    day: int
    words: str
    place: str

    @property
    def visit_day(self) -> int:
        return self.day - TOLD[self.words]

    @property
    def text(self) -> str:
        return f"{self.words} I visited {self.place}."


def iso(day: int) -> str:
    """The date of a day of this world.

    >>> iso(0), iso(23)
    ('2024-03-01', '2024-03-24')
    """
    return (FIRST_DAY + timedelta(days=day)).isoformat()


def question(talk: Talk, asks: str = "place") -> str:
    """The question that this talk answers: for the place visited on a day, or for the day of a visit.

    >>> talk = Talk("Ada", day=9, words="Yesterday", place="Fenwick")
    >>> question(talk), question(talk, "date")
    ('On 2024-03-09, which place did Ada visit?', 'On which day did Ada visit Fenwick?')
    """
    if asks == "place":
        return f"On {iso(talk.visit_day)}, which place did {talk.speaker} visit?"
    return f"On which day did {talk.speaker} visit {talk.place}?"


def draw_memory(
    rng: random.Random,
    count: int,
    told: Sequence[str] = tuple(TOLD),
    split: str = "train",
    typical: float = 0.0,
    counterfactual: bool = False,
) -> list[Talk]:
    """Draw talks as `draw_talks` does until they belong to `split`; the share `typical` of the visits is to `USUAL`.

    With `counterfactual` the first, which answers the question, is to another place than that.
    """
    while True:
        talks = draw_talks(rng, count, told)
        if typical:
            usual = [rng.random() < typical and not (counterfactual and talk is talks[0]) for talk in talks]
            talks = [t._replace(place=USUAL[t.speaker]) if yes else t for t, yes in zip(talks, usual, strict=True)]
        if counterfactual and talks[0].place == USUAL[talks[0].speaker]:
            continue
        if split_of(map(str, talks)) == split:
            return talks


def draw_talks(rng: random.Random, count: int, told: Sequence[str] = tuple(TOLD)) -> list[Talk]:
    """Draw `count` talks of which the first answers a question, and the next four would mislead.

    They are: the same person on another day (told of on the asked day itself, if `told` has more than today, and then
    the answer is told later than it happened), another person on the asked day, the same person once more, and another
    person at the same place. Where the answer is told later, "once more" is after the asked day too, before or after
    the answer, so that the person's first talk after that day is right only half the time. The second and the third
    share a place as well, so that a place told of twice is not the answer. (Person, day of visit) and (person, place)
    occur once each. A `count` below 5 leaves out the last of them.

    >>> gold, trap, other, more, same_place = draw_talks(random.Random(0), count=5)
    >>> gold.speaker == trap.speaker == more.speaker, gold.visit_day == trap.day, gold.day > gold.visit_day
    (True, True, True)
    >>> gold.visit_day == other.visit_day, gold.place == same_place.place
    (True, True)
    """
    person, *others = rng.sample(PEOPLE, 2 + count // 4)
    asked_place, *places = rng.sample(PLACES, max(count, MIN_SESSIONS))
    start = rng.randrange(FIRST_SESSION_DAY, DAYS - WINDOW_DAYS)
    window = range(start, start + WINDOW_DAYS)
    later = [words for words in told if TOLD[words]] or told
    gold = Talk(person, rng.choice(window), rng.choice(later), asked_place)
    talks = [gold]

    def add(speakers: Sequence[str], days: Sequence[int], told: Sequence[str], place: str, visit: bool = False) -> None:
        while True:
            words = rng.choice(told)
            talk = Talk(rng.choice(speakers), rng.choice(days) + (TOLD[words] if visit else 0), words, place)
            if talk.day < DAYS and all((talk.speaker, talk.visit_day) != (t.speaker, t.visit_day) for t in talks):
                talks.append(talk)
                return

    add([person], window if later is told else [gold.visit_day], later, places[0])
    add(others, [gold.visit_day], told, places[1], visit=True)
    soon, late = range(gold.visit_day + 1, gold.day + 1), range(gold.day + 1, DAYS)
    add([person], window if later is told else rng.choice([soon, soon, late]), told, places[1])  # soon includes ties
    add(others, window, told, asked_place)
    for place in places[2 : count - 3]:
        add([person, *others], window, told, place)
    return talks[:count]


def generate(
    level: str = "hard",
    rows: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    sessions: int | Sequence[int] | None = None,
    asks: str | Mapping[str, float] = "place",
    typical: float = 0.0,
    counterfactual: bool = False,
    demonstrations: bool = False,
) -> Iterator[Record]:
    """Yield `rows` records of a level; row i depends on level, seed, split and options, not on `rows`.

    In `easy` everything is told on its day, in `hard` the answer is told later, over 5 or 6 sessions each; `long` is
    hard over 8. `sessions` gives other numbers of sessions (each as likely), `asks` what is asked for, `place` or
    `date`, or the share of each. Questions for a place have the asked day as time range, those for a date none.
    `typical` is the share of visits to the one usual place of their person: a guess that is often right without any
    choice of a session. `counterfactual` asks for visits to another place than that alone.
    `demonstrations` adds the completion that a row's own labels describe, for SFT.

    Raises ConfigError for an unknown or impossible option, before the first row.

    >>> row = next(generate("hard", rows=1, seed=3))
    >>> row["question"], row["golds"], row["evidence"], row["time_range"]
    ('On 2024-03-07, which place did Carla visit?', ['Elvanor'], ['session_11'], ['2024-03-07', '2024-03-07'])
    >>> list(generate("hrad", rows=1))
    Traceback (most recent call last):
    rlkit.errors.ConfigError: level: 'hrad' is unknown; the dialogue world has easy, hard, long. Did you mean 'hard'?
    """
    _one_of("level", level, LEVELS)
    _one_of("split", split, SPLITS)
    _whole("rows", rows, 1)
    _whole("seed", seed, 0)
    for option, value in (("counterfactual", counterfactual), ("demonstrations", demonstrations)):
        if not isinstance(value, bool):
            raise ConfigError(f"{option}: {value!r} is not true or false.")
    if isinstance(typical, bool) or not isinstance(typical, (int, float)) or not 0 <= typical <= 1:
        raise ConfigError(f"typical: {typical!r} is not a share from 0 to 1.")
    shares = _shares(asks)
    if typical and "date" in shares:
        raise ConfigError(
            "typical: a person is at the usual place on several days, so that asks: date has no one answer; ask for place."
        )
    counts = _counts(LEVELS[level]["sessions"] if sessions is None else sessions)
    drawn = (_row(level, seed, number, split, counts, shares, typical, counterfactual) for number in range(rows))
    return map(demonstrated, drawn) if demonstrations else drawn


def from_source(spec: Mapping[str, Any], where: str = "source") -> Iterator[Record]:
    """The rows of a config's source entry, `{format: dialogues, level: hard, rows: 2000, ...}`: options of `generate`.

    Raises ConfigError that begins with the entry's config path.

    >>> list(from_source({"format": "dialogues", "lvl": "hard"}, "sources.hard"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rlkit.errors.ConfigError: sources.hard.lvl: no such key; there are level, rows, ... Did you mean 'level'?
    """
    options = {key: value for key, value in spec.items() if key != "format"}
    known = list(inspect.signature(generate).parameters)
    for key in options:
        if key not in known:
            raise ConfigError(f"{where}.{key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}")
    try:
        return generate(**options)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def prompt(sessions: Mapping[str, Talk], asked: str) -> list[dict[str, str]]:
    """The message that asks over sessions by name: a line each, with the name between what decides and what is asked for.

    The ordinary prompt puts the name first. A model of one short convolution and one layer of attention, trained for
    two minutes, finds a name that stands right behind the date, the speaker and the words for the day, but not one that
    stands before them, so records of this world bring their own prompt.

    >>> print(prompt({"session_3": Talk("Ada", day=9, words="Yesterday", place="Fenwick")}, "Where?")[0]["content"])
    2024-03-10 Ada: Yesterday (session_3) I visited Fenwick.
    <BLANKLINE>
    Question: Where?
    """
    lines = (
        f"{iso(talk.day)} {talk.speaker}: {talk.words} ({name}) I visited {talk.place}."
        for name, talk in sessions.items()
    )
    return [{"role": "user", "content": "\n".join(lines) + f"\n\nQuestion: {asked}"}]


def prompt_of(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """The message that asks a record of this world over the sessions that it has now, as after a search.

    >>> record = next(generate("hard", rows=1, seed=3))
    >>> prompt_of(record) == record["prompt"]
    True
    """
    talks = {}
    for session in record["sessions"]:
        (said,) = session["utterances"]
        words, place = said["text"].rstrip(".").split(" I visited ")
        day = (date.fromisoformat(session["date"]) - FIRST_DAY).days
        talks[session["id"]] = Talk(said["speaker"], day, words, place)
    return prompt(talks, record["question"])


def memory_record(talks: Sequence[Talk], asked: Talk, asks: str, numbers: Sequence[int]) -> Record:
    """The record that asks `asked` over talks in the order of their days, with session ids from ascending `numbers`."""
    ordered = sorted(talks, key=lambda talk: talk.day)
    ids = [f"session_{number}" for number in numbers]
    day = iso(asked.visit_day)
    record = Record(
        task="memory_t1",
        kind="text" if asks == "place" else "time",
        question=question(asked, asks),
        context=[],
        golds=[asked.place if asks == "place" else day],
        evidence=[ids[ordered.index(asked)]],
        source="dialogues",
        time_range=[day, day] if asks == "place" else [None, None],
        sessions=[_session(name, talk) for name, talk in zip(ids, ordered, strict=True)],
    )
    by_name = dict(zip(ids, ordered, strict=True))
    return cast(Record, {**record, "prompt": prompt(by_name, record["question"])})


def _session(name: str, talk: Talk) -> dict[str, Any]:
    day = iso(talk.visit_day)
    event = {"summary": f"{talk.speaker} visited {talk.place}", "start": day, "end": day}
    said = {"speaker": talk.speaker, "text": talk.text, "time": None, "events": [event]}
    return {"id": name, "date": iso(talk.day), "utterances": [said]}


def _row(
    level: str,
    seed: int,
    number: int,
    split: str,
    counts: Sequence[int],
    shares: Mapping[str, float],
    typical: float,
    counterfactual: bool,
) -> Record:
    rng = random.Random(f"dialogues {level} {seed} {number} {split}")
    asks = rng.choices(list(shares), weights=list(shares.values()))[0]
    count = rng.choice(counts)
    talks = draw_memory(rng, count, LEVELS[level]["told"], split, typical, counterfactual)
    rng_numbers = sorted(rng.sample(SESSION_NUMBERS, count))
    record = memory_record(rng.sample(talks, count), talks[0], asks, rng_numbers)
    record["id"] = f"dialogues-{split}-{level}-{seed}-{number}"
    return record


def _one_of(option: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        names = ", ".join(allowed)
        raise ConfigError(
            f"{option}: {value!r} is unknown; the dialogue world has {names}.{nearest(str(value), allowed)}"
        )


def _whole(option: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{option}: {value!r} is not a whole number of at least {least}.")


def _shares(asks: str | Mapping[str, float]) -> dict[str, float]:
    shares = dict(asks) if isinstance(asks, Mapping) else {asks: 1.0}
    for name, share in shares.items():
        _one_of("asks", name, ASKS)
        if not isinstance(share, (int, float)) or not 0 <= share < float("inf"):
            raise ConfigError(f"asks: the share {share!r} of {name!r} is not a finite number of at least 0.")
    if sum(shares.values()) <= 0:
        raise ConfigError("asks: all shares are zero, so no row can be drawn; give one a positive share.")
    return {name: float(share) for name, share in shares.items() if share}


def _counts(sessions: int | Sequence[int]) -> list[int]:
    counts = list(sessions) if isinstance(sessions, Sequence) and not isinstance(sessions, str) else [sessions]
    if not counts:
        raise ConfigError("sessions: the list is empty; give the numbers of sessions a memory may have.")
    for count in counts:
        if not isinstance(count, int) or isinstance(count, bool) or not MIN_SESSIONS <= count <= MAX_SESSIONS:
            raise ConfigError(
                f"sessions: {count!r} is not a number of sessions from {MIN_SESSIONS} to {MAX_SESSIONS}; a question needs "
                f"its own session and {MIN_SESSIONS - 1} distractors."
            )
    return counts
