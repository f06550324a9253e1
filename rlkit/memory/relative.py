"""Read expressions that are relative to the day of asking: yesterday, last week, three months ago, next Friday.

Knows calendars and habits of speech, and where these leave a choice takes all of it; refuses to know the wall clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from dateutil.relativedelta import relativedelta

from rlkit.memory.mentions import (
    MONTH,
    SEASON,
    WEEKDAY,
    Mention,
    Span,
    join_spans,
    month_number,
    season,
    shift,
    weekday_number,
)

UNIT = r"(?:day|night|weekend|week|fortnight|month|quarter|year|decade|hour|minute|second)s?"
_NUMBER_NAMES = "zero one two three four five six seven eight nine ten eleven twelve"
# Words for an unclear number stand for the most that they commonly mean: a range too narrow loses sessions.
_NUMBERS = {name: i for i, name in enumerate(_NUMBER_NAMES.split())} | {
    "a": 1, "an": 1, "the": 1, "last": 1, "couple": 3, "few": 6, "several": 10, "half": 1,
}  # fmt: skip
NUMBER = rf"(?:[0-9]{{1,6}}|{'|'.join(_NUMBERS)})"
COUNT = rf"(?:(?:the|a) )?(?P<number>{NUMBER})(?: of)?(?: a)? (?P<unit>{UNIT})\b"

_FINDER = re.compile(
    rf"""\b(?:(?P<fixed>(?:the[ ])?day[ ]before[ ]yesterday|(?:the[ ])?day[ ]after[ ]tomorrow|yesterday|tomorrow|tonight
        |today|last[ ]night|this[ ](?:morning|afternoon|evening))
    |(?P<vague>(?:more[ ]than|over)[ ])?{COUNT.replace(" ", "[ ]")}[ ](?P<way>ago|from[ ]now)
    |(?P<rolling>last|past|previous|next|coming)[ ](?P<count>{NUMBER})[ ](?:of[ ])?(?P<units>{UNIT})\b
    |(?P<the>the[ ])?(?P<which>last|past|previous|this|current|next|coming|upcoming)[ ]
        (?P<what>{WEEKDAY}|{MONTH}|{SEASON}|(?:weekend|week|month|quarter|year|decade)\b)(?![ ](?:of|in)[ ])
    )""",
    re.VERBOSE,
)
_FIXED_DAYS = {"yesterday": (-1, -1), "tomorrow": (1, 1), "last night": (-1, 0)}


def find_relative(text: str, asked: date) -> list[Mention]:
    """All relative expressions of a prepared text with what they cover when asked on that day, in order.

    A month or a year ago is that whole calendar unit and at least half a unit around the day; weeks begin on Monday.

    >>> def covered(text):
    ...     return [tuple(map(str, mention.span)) for mention in find_relative(text, date(2023, 5, 17))]
    >>> covered("last week, three days ago, in the last two months")
    [('2023-05-08', '2023-05-14'), ('2023-05-14', '2023-05-14'), ('2023-03-17', '2023-05-17')]
    >>> covered("last summer and last friday")
    [('2022-06-01', '2022-08-31'), ('2023-05-12', '2023-05-12')]
    """
    return [Mention(*match.span(), _read(match, asked), relative=True) for match in _FINDER.finditer(text)]


def has_relative(text: str) -> bool:
    """Whether a prepared text holds a relative expression at all."""
    return _FINDER.search(text) is not None


def length(number: str, unit: str) -> relativedelta:
    """So many units as a calendar difference; parts of a day count as a day.

    >>> length("two", "months"), length("36", "hours")
    (relativedelta(months=+2), relativedelta(days=+1))
    """
    count = int(number) if number.isdigit() else _NUMBERS[number]
    unit = unit.removesuffix("s")
    days = {"day": 1, "night": 1, "week": 7, "fortnight": 14}
    if unit in days:
        return relativedelta(days=count * days[unit])
    if unit == "weekend":
        return relativedelta(days=7 * count + 2)
    months = {"month": 1, "quarter": 3, "year": 12, "decade": 120}
    if unit in months:
        return relativedelta(months=count * months[unit])
    per_day = {"hour": 24, "minute": 24 * 60, "second": 24 * 60 * 60}[unit]
    return relativedelta(days=max(1, count // per_day))


def calendar_unit(day: date, unit: str) -> Span:
    """The week, weekend, month, quarter, year or decade that a day lies in.

    >>> [str(day) for day in calendar_unit(date(2023, 5, 17), "week")]
    ['2023-05-15', '2023-05-21']
    """
    if unit in ("week", "weekend", "fortnight"):
        monday = shift(day, -timedelta(day.weekday()))
        return (shift(monday, timedelta(5)) if unit == "weekend" else monday), shift(monday, timedelta(6))
    months = {"month": 1, "quarter": 3, "year": 12, "decade": 120}.get(unit)
    if months is None:
        return day, day
    first = (day.year * 12 + day.month - 1) // months * months
    start = date(max(first // 12, 1), first % 12 + 1, 1)
    return start, shift(start, relativedelta(months=months, days=-1))


def _read(match: re.Match[str], asked: date) -> Span:
    group = match.groupdict()
    if group["fixed"]:
        fixed = group["fixed"]
        if "day " in fixed:
            day = shift(asked, timedelta(-2 if "before" in fixed else 2))
            return day, day
        first, last = _FIXED_DAYS.get(fixed, (0, 0))
        return shift(asked, timedelta(first)), shift(asked, timedelta(last))
    if group["way"]:
        return _distant(group["number"], group["unit"], group["way"] == "ago", bool(group["vague"]), asked)
    if group["rolling"]:
        by = length(group["count"], group["units"])
        ahead = group["rolling"] in ("next", "coming")
        return (asked, shift(asked, by)) if ahead else (shift(asked, -by), asked)
    step = {"this": 0, "current": 0, "next": 1, "coming": 1, "upcoming": 1}.get(group["which"], -1)
    span = _step(group["what"], step, asked)
    if step == -1 and (group["the"] or group["which"] == "past"):  # "in the last month" reaches up to today
        back = shift(asked, -length("1", group["what"])) if re.fullmatch(UNIT, group["what"]) else asked
        return join_spans([span, (back, asked)])
    return span


def _distant(number: str, unit: str, ago: bool, open_ended: bool, asked: date) -> Span:
    by = length(number, unit)
    there = shift(asked, -by if ago else by)
    unit = unit.removesuffix("s")
    around: Span = (there, there)
    if unit not in ("day", "night", "hour", "minute", "second"):
        half = timedelta((length("1", unit) + date(2000, 1, 1) - date(2000, 1, 1)).days // 2)
        around = join_spans([calendar_unit(there, unit), (shift(there, -half), shift(there, half))])
    if number in ("couple", "few", "several"):
        around = (around[0], asked) if ago else (asked, around[1])
    if open_ended:
        return (None, around[1]) if ago else (around[0], None)
    return around


def _step(what: str, step: int, asked: date) -> Span:
    """The unit, weekday, month or season before, at or after the day of asking."""
    if re.fullmatch(SEASON, what):
        return _named(lambda year: season(what, year), step, asked)
    if re.fullmatch(MONTH, what):
        month = month_number(what)
        return _named(lambda year: calendar_unit(date(year, month, 1), "month"), step, asked)
    if re.fullmatch(WEEKDAY, what):
        day = shift(asked, timedelta(weekday_number(what) - asked.weekday()))  # that of this calendar week
        if step == 0:
            return day, day
        # The nearest one and the one of the neighbouring week: both are meant, by different people.
        other = shift(day, timedelta(7 * step))
        return (other, day if day < asked else other) if step < 0 else (day if day > asked else other, other)
    unit = "week" if what == "weekend" else what
    by = length("1", unit)
    return calendar_unit(shift(asked, by * step), what)


def _named(covers: Callable[[int], Span], step: int, asked: date) -> Span:
    years: Iterator[int] = iter(range(max(asked.year - 2, 2), min(asked.year + 3, 9998)))
    spans = [covers(year) for year in years]
    if step == 0:
        return covers(min(max(asked.year, 2), 9997))
    if step > 0:
        return next((span for span in spans if span[0] and span[0] > asked), spans[-1])
    return next((span for span in reversed(spans) if span[1] and span[1] < asked), spans[0])
