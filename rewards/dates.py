"""Dates, clock times and durations as people and data sets write them in English.

Reads only what a text says: a missing field is never filled in, so today's date and the time zone of the machine are
unknown here, and so is the question that the date belongs to.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime
from functools import lru_cache

MAX_CHARS = 80  # no date and no duration is longer, and the cache below must stay small

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2})"
    r"(?:[t ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?(?:z|[+-][0-9]{2}:?[0-9]{2})?)?)?"
)
_CLOCK = re.compile(
    r"(?<![0-9:])([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?)?\s?([ap])\.?m\b\.?"
    r"|(?<![0-9:])([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?(?![0-9:])"
)
_WORD = re.compile(r"[a-z]+|[0-9]+")
_SEPARATORS = frozenset(" \t\n,./-()")
_SILENT = frozenset(("st", "nd", "rd", "th", "on", "at", "of", "the", "in"))
# Written out, because the names in `calendar` follow the locale of the process.
_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = {name: i for i, name in enumerate(_MONTH_NAMES.split(), 1)}
_MONTHS |= {name[:3]: i for name, i in _MONTHS.items()} | {"sept": 9}
_WEEKDAY_NAMES = "monday tuesday wednesday thursday friday saturday sunday"
_WEEKDAYS = frozenset(_WEEKDAY_NAMES.split()) | {name[:3] for name in _WEEKDAY_NAMES.split()}

_MONTH_SECONDS = 2_629_800  # a twelfth of 365.25 days, so that 12 months are exactly one year
_UNIT_SECONDS = {
    unit: seconds
    for units, seconds in (
        ("year years yr yrs", 12 * _MONTH_SECONDS),
        ("month months mo mos", _MONTH_SECONDS),
        ("week weeks wk wks", 604_800),
        ("day days d", 86_400),
        ("hour hours hr hrs h", 3_600),
        ("minute minutes min mins", 60),
        ("second seconds sec secs s", 1),
    )
    for unit in units.split()
}
_NUMBER_NAMES = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBERS = {name: i for i, name in enumerate(_NUMBER_NAMES.split())} | {"a": 1, "an": 1}
_TERM = re.compile(r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?|[0-9]{1,3}(?:,[0-9]{3}){1,2})\s*|([a-z]+)\s+)([a-z]+)\.?")
_BETWEEN = re.compile(r"\s*(?:,\s*)?(?:and\s+)?")

Fields = tuple[int, ...]


def read_date(text: str) -> Fields | None:
    """The fields that a text gives: (year,), (year, month), (…, day) or (…, day, hour, minute, second); else `None`.

    Reads ISO 8601 and common English forms; the whole text must be one date, so hedging between two is unreadable. A
    year has four digits; in all-number dates the month stands before the day unless only the other way is possible.
    A zone offset is dropped: dialogue speaks in wall-clock time.

    >>> read_date("10:45:41 pm, January 15, 2024")
    (2024, 1, 15, 22, 45, 41)
    >>> read_date("May, 2023"), read_date("2022/3/27"), read_date("Friday"), read_date("2024-01-15 or 2024-01-16")
    ((2023, 5), (2022, 3, 27), None, None)
    """
    text = text.strip()
    return _read_date(text) if len(text) <= MAX_CHARS else None


@lru_cache(maxsize=1 << 16)
def _read_date(text: str) -> Fields | None:
    text = text.lower().strip("<>\"'`.")
    iso = _ISO.fullmatch(text)
    if iso:
        fields: Fields | None = tuple(int(group) for group in iso.groups() if group is not None)
    else:
        clocks = list(_CLOCK.finditer(text))
        if len(clocks) > 1:
            return None
        fields = _read_day(_CLOCK.sub(" ", text))
        if fields and clocks:
            clock = _read_clock(clocks[0])
            fields = fields + clock if clock and len(fields) == 3 else None
    if not fields:
        return None
    if len(fields) == 5:
        fields = (*fields, 0)
    try:
        first_moment(fields)
    except ValueError:  # a thirteenth month, a thirtieth of February
        return None
    return fields


def _read_clock(match: re.Match[str]) -> Fields | None:
    hour12, minute12, second12, half, hour24, minute24, second24 = match.groups()
    if half is None:
        return int(hour24), int(minute24), int(second24 or 0)
    if not 1 <= int(hour12) <= 12:
        return None
    return int(hour12) % 12 + 12 * (half == "p"), int(minute12 or 0), int(second12 or 0)


def _read_day(text: str) -> Fields | None:
    if any(mark not in _SEPARATORS for mark in _WORD.sub("", text)):
        return None
    words = [word for word in _WORD.findall(text) if word not in _SILENT]
    words = [word for word in words if word not in _WEEKDAYS]
    years = [int(word) for word in words if word.isdigit() and len(word) == 4]
    numbers = [int(word) for word in words if word.isdigit() and len(word) <= 2]
    months = [_MONTHS[word] for word in words if word in _MONTHS]
    if len(years) != 1 or len(years) + len(numbers) + len(months) != len(words):
        return None
    if len(months) == 1 and len(numbers) <= 1:
        return (*years, *months, *numbers)
    if not months and len(numbers) <= 2:
        day_first = len(numbers) == 2 and numbers[0] > 12
        return (*years, *(reversed(numbers) if day_first else numbers))
    return None


def agrees(answer: Fields, gold: Fields) -> bool:
    """Whether an answer says the gold's date, to the minute when the gold has a time; saying more than asked is right.

    >>> agrees((2023, 5, 16, 20, 3, 59), (2023, 5, 16, 20, 3, 0)), agrees((2023, 5), (2023, 5, 16))
    (True, False)
    """
    wanted = gold[:5]
    return answer[: len(wanted)] == wanted


def gap_days(earlier: Fields, later: Fields) -> float:
    """Days from the end of one date to the beginning of another; negative when they overlap or stand the other way.

    Fractional when both have a time of day, whole calendar days otherwise: a date alone covers its whole day.

    >>> gap_days((2024, 3, 1), (2024, 3, 8, 9, 30, 0)), gap_days((2024, 3, 1, 0, 0, 0), (2024, 3, 1, 6, 0, 0))
    (7.0, 0.25)
    """
    return _days(last_moment(earlier), first_moment(later), len(earlier) == len(later) == 6)


def is_before(earlier: Fields, later: Fields) -> bool:
    """Whether the one date is over before the other begins; the same day is not before, unless both have a time."""
    return gap_days(earlier, later) > 0


def first_moment(fields: Fields) -> datetime:
    """The first second of what a date covers."""
    return datetime(*(fields + (1, 1, 1)[len(fields) :]))  # type: ignore[arg-type]


def last_moment(fields: Fields) -> datetime:
    """The last second of what a date covers.

    >>> last_moment((2024, 2))
    datetime.datetime(2024, 2, 29, 23, 59, 59)
    """
    year, month = (*fields, 12)[:2]
    day = calendar.monthrange(year, month)[1]
    return datetime(*(fields + (12, day, 23, 59, 59)[len(fields) - 1 :]))  # type: ignore[arg-type]


def _days(start: datetime, end: datetime, timed: bool) -> float:
    return (end - start).total_seconds() / 86_400 if timed else float((end.date() - start.date()).days)


def read_duration(text: str) -> float | None:
    """Total seconds of a length such as "2 years 3 months 4 days", or `None`; a unit may come only once.

    >>> read_duration("1 year") == read_duration("12 months"), read_duration("a day and 2 hours")
    (True, 93600.0)
    >>> read_duration("I do not know"), read_duration("3 days or 4 days")
    (None, None)
    """
    text = text.strip().lower().rstrip(".")
    if not text or len(text) > MAX_CHARS:
        return None
    total = 0.0
    seen: set[int] = set()
    position = 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None:
            return None
        digits, word, unit = term.groups()
        seconds = _UNIT_SECONDS.get(unit)
        amount = _NUMBERS.get(word) if digits is None else float(digits.replace(",", ""))
        if seconds is None or amount is None or seconds in seen:
            return None
        seen.add(seconds)
        total += amount * seconds
        position = term.end()
        if position < len(text):
            position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
            if position == len(text):
                return None
    return total
