"""Find the dates that a question writes out: 5 May 2021, March 2020, the summer of 2020, 2019-2021, mid-May.

Knows how dates look and what they cover; refuses to know when the question was asked and what it asks about them. A
missing year stays missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from dateutil.parser import parserinfo
from dateutil.relativedelta import relativedelta

from rewards.dates import first_moment, last_moment

Span = tuple["date | None", "date | None"]

_NAMES = parserinfo()  # the month and weekday names of dateutil
_SEASON_STARTS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}  # northern, whole months
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4}

MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b"
)
WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
SEASON = r"(?:spring|summer|autumn|fall|winter)\b"
_CENTURY = "(?:1[89]|2[01])"  # other numbers of four digits are rarely years
_YEAR = rf"{_CENTURY}[0-9]{{2}}\b"
_DAY = r"[0-9]{1,2}(?:st|nd|rd|th)?\b"
_JOIN = r"(?: ?- ?| (?:to|and|or|until|till|through) )(?:the )?"
_FINDER = re.compile(
    rf"""\b(?:(?P<part>(?:the[ ])?(?:(?:very[ ])?(?:early|mid|late|beginning|start|middle|end)
              |(?:first|second|third|fourth|last|final)[ ](?:few[ ])?(?:days|week|weekend|weeks|half|part|months)
              |week|weekend|around|about|circa|roughly|approximately)(?:[ ]of|[ ]in|[ ]on|-)?)[ ]?(?:the[ ])?\b)?
    (?:{WEEKDAY},?[ ](?:the[ ])?)?
    (?:(?P<iso>{_CENTURY}[0-9]{{2}}(?:-[0-9]{{2}}(?:-[0-9]{{2}})?|/[0-9]{{1,2}}/[0-9]{{1,2}}))(?![0-9/-])
    |(?P<numeric>[0-9]{{1,2}}(?P<mark>[/.-])[0-9]{{1,2}}(?P=mark){_YEAR})
    |(?P<first>{_DAY})(?:{_JOIN.replace(" ", "[ ]")}(?P<last>{_DAY}))?(?:[ ]of)?[ ](?P<month>{MONTH})\.?
        (?:,?[ ](?:of[ ]|in[ ])?(?P<year>{_YEAR}))?
    |(?P<month2>{MONTH})\.?[ ](?:the[ ])?(?P<first2>{_DAY})
        (?:{_JOIN.replace(" ", "[ ]")}(?P<last2>{_DAY})(?![ ](?:of[ ])?{MONTH}))?
        (?:,?[ ](?:of[ ]|in[ ])?(?P<year2>{_YEAR}))?
    |(?P<month3>{MONTH})\.?(?:,?[ ](?:of[ ])?(?P<year3>{_YEAR}))?
    |(?:q(?P<q>[1-4])|(?P<ordinal>{"|".join(_ORDINALS)})[ ]quarter),?[ ](?:of[ ])?(?P<year4>{_YEAR})
    |(?P<season>{SEASON}),?[ ](?:of[ ])?(?P<year5>{_YEAR})
    |(?P<decade>{_CENTURY}[0-9]0)'?s\b
    |(?P<bare>{_YEAR}))""",
    re.VERBOSE,
)
# A bare year or month counts behind these words only: "bought 2000 shares", "she may", "what June said" are no dates.
_YEAR_WORDS = frozenset(
    [
        "in",
        "of",
        "during",
        "since",
        "before",
        "after",
        "until",
        "till",
        "by",
        "from",
        "to",
        "between",
        "through",
        "throughout",
        "year",
        "within",
        "for",
        "and",
        "or",
    ]
)
_MONTH_WORDS = frozenset(("in", "during", "until", "till", "throughout", "mid", "early", "late", "month"))
_MONTH_EDGES = frozenset(("of", "since", "before", "after", "by", "from", "to", "between", "through", "this"))
_LINKS = frozenset(("and", "or", "to", "-", "until", "till", "through", ",", ", and", ", or"))
_AMBIGUOUS = frozenset(("may", "march", "mar"))
_ALONE = re.compile(r"\.?(?:$|[,.;:?!)'\"-]| (?:and|or|to|in|at|until|till|through|on|of|if|-)\b)")


@dataclass(frozen=True)
class Mention:
    """A stretch of text, from `start` to `end`, that names a time.

    `span` is what it covers, or `None` when the year is missing: then `month`, `first` and `last` day say the rest.
    `relative` marks what depends on the day of asking.
    """

    start: int
    end: int
    span: Span | None = None
    part: str = ""
    month: int = 0
    first: int = 0
    last: int = 0
    relative: bool = False

    def in_year(self, year: int) -> Span | None:
        """What it covers in a year; `None` when there is no such day in that year."""
        if self.span is not None:
            return self.span
        days = (
            ((year, self.month, self.first), (year, self.month, self.last)) if self.first else ((year, self.month),) * 2
        )
        return _cover(days[0], days[1], self.part)


def find_mentions(text: str) -> list[Mention]:
    """All written-out dates of a prepared text (lower case, single spaces, no clock times), in order.

    >>> [tuple(map(str, mention.span)) for mention in find_mentions("in the summer of 2020 or on may 5th, 2021")]
    [('2020-06-01', '2020-08-31'), ('2021-05-05', '2021-05-05')]
    >>> find_mentions("who may march in april? she bought 2000 shares")[0].span is None
    True
    """
    mentions: list[Mention] = []
    for match in _FINDER.finditer(text):
        mention = _read(match)
        if mention and _is_date(match, text, mentions[-1].end if mentions else None):
            mentions.append(mention)
    return mentions


def season(name: str, year: int) -> Span:
    """The whole months of a season; a winter may mean either end of its year, so both are in."""
    start = date(year - (name == "winter"), _SEASON_STARTS[name], 1)
    years = relativedelta(years=name == "winter", months=3, days=-1)
    return start, start + years


def month_number(name: str) -> int:
    """1 to 12 for an English month name or its abbreviation."""
    return (_NAMES.month(name) or 0) or 0


def weekday_number(name: str) -> int:
    """0 for Monday to 6 for Sunday."""
    return _NAMES.weekday(name) or 0


def _read(match: re.Match[str]) -> Mention | None:
    group = match.groupdict()
    part = (group["part"] or "").strip()
    at = match.span()
    span: Span | None
    month = group["month"] or group["month2"] or group["month3"]
    if month:
        year = group["year"] or group["year2"] or group["year3"]
        first = _day(group["first"] or group["first2"])
        mention = Mention(*at, None, part, month_number(month), first, _day(group["last"] or group["last2"]) or first)
        span = mention.in_year(int(year) if year else 2000)  # a leap year: the day may exist
        if span is None:
            return None
        return replace(mention, span=span) if year else mention
    if group["iso"]:
        fields = tuple(int(field) for field in re.split("[-/]", group["iso"]))
        span = _cover(fields, fields, part)
    elif group["numeric"]:
        one, other, year = (int(field) for field in re.split("[/.-]", group["numeric"]))
        span = _union(
            _cover((year, one, other), (year, one, other), part), _cover((year, other, one), (year, other, one), part)
        )
    elif group["q"] or group["ordinal"]:
        quarter = int(group["q"] or _ORDINALS[group["ordinal"]])
        year = int(group["year4"])
        span = _cover((year, 3 * quarter - 2), (year, 3 * quarter), part)
    elif group["season"]:
        span = _cut(season(group["season"], int(group["year5"])), part)
    elif group["decade"]:
        year = int(group["decade"])
        span = _cover((year,), (year + 9,), part)
    else:
        span = _cover((int(group["bare"]),), (int(group["bare"]),), part)
    return Mention(*at, span) if span else None


def _is_date(match: re.Match[str], text: str, previous_end: int | None) -> bool:
    month = match["month"] or match["month2"] or match["month3"]
    without_year = month and not (match["year"] or match["year2"] or match["year3"])
    if not match["bare"] and not without_year:
        return True
    linked = previous_end is not None and text[previous_end : match.start()].strip() in _LINKS
    before = text[max(0, match.start() - 20) : match.start()].rstrip(" -'\"(").rpartition(" ")[2]
    if match["bare"]:
        return bool(match["part"]) or linked or before in _YEAR_WORDS
    alone = bool(_ALONE.match(text, match.end()))
    if month in _AMBIGUOUS and not alone:
        return before in _MONTH_WORDS and not match["first"] and not match["first2"]
    if not match["month3"] or match["part"]:
        return True
    return before in _MONTH_WORDS or (alone and (linked or before in _MONTH_EDGES))


def _day(text: str | None) -> int:
    return int(re.sub("[a-z]", "", text)) if text else 0


def _cover(first: tuple[int, ...], last: tuple[int, ...], part: str) -> Span | None:
    try:
        return _cut((first_moment(first).date(), last_moment(last).date()), part)
    except ValueError:  # a thirteenth month, a thirtieth of February
        return None


def _cut(span: Span, part: str) -> Span:
    # Generous: what people call early or late differs, and a session cut off here is lost.
    start, end = span
    if not part or start is None or end is None:
        return span
    length = end - start
    if re.search(r"around|about|circa|roughly|approx", part):
        return shift(start, -max(length, timedelta(7))), shift(end, max(length, timedelta(7)))
    if re.search(r"early|beginning|start|first|second week|second few", part):
        return start, start + length / 2
    if re.search(r"mid", part) or (re.search("second|third", part) and "half" not in part):
        return start + length / 5, end - length / 5
    if re.search(r"late|end\b|last|final|fourth|half", part):
        return start + length / 2, end
    return shift(start, -timedelta(6)), shift(end, timedelta(6))  # the week or the weekend of a day


def shift(day: date, by: timedelta | relativedelta) -> date:
    """A day moved, but not out of the calendar.

    >>> shift(date(2020, 1, 31), relativedelta(months=1)), shift(date(2020, 1, 1), relativedelta(years=9000))
    (datetime.date(2020, 2, 29), datetime.date(9999, 12, 31))
    """
    try:
        return day + by
    except (OverflowError, ValueError):
        later = by > timedelta() if isinstance(by, timedelta) else (by.years, by.months, by.days) > (0, 0, 0)
        return date.max if later else date.min


def _union(one: Span | None, other: Span | None) -> Span | None:
    spans = [span for span in (one, other) if span]
    return join_spans(spans) if spans else None


def join_spans(spans: list[Span]) -> Span:
    """The shortest stretch that holds all spans; open where one of them is open."""
    starts = [start for start, _ in spans]
    ends = [end for _, end in spans]
    return _extreme(starts, min), _extreme(ends, max)


def _extreme(days: list[date | None], choose: object) -> date | None:
    known = [day for day in days if day is not None]
    return choose(known) if len(known) == len(days) else None  # type: ignore[operator]


def latest(mention: Mention, asked: date) -> Iterator[Span]:
    """What a mention without a year covers in the last year in which it began by `asked`, and then in the next."""
    for year in range(asked.year, asked.year - 9, -1):  # a 29 February comes back within eight years
        span = mention.in_year(year)
        if span and span[0] and span[0] <= asked:
            yield span
            break
    for year in range(asked.year, asked.year + 9):
        span = mention.in_year(year)
        if span and span[0] and span[0] > asked:
            yield span
            return
