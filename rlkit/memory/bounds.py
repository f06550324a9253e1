"""What the words around dates make of them: between two, from one to another, after one, two months before one.

Knows prepositions; refuses to know how dates are written and what the question is about. In doubt a bound is open.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

from dateutil.relativedelta import relativedelta

from rlkit.memory.mentions import Mention, Span, find_mentions, join_spans, latest, shift
from rlkit.memory.relative import COUNT, calendar_unit, find_relative, length

REACH_CHARS = 120  # how far before a date its preposition may stand

_FUTURE = re.compile(r"\b(?:will|plan|plans|planned|planning|going to|upcoming|next|future|intends?|scheduled)\b|'ll\b")
_FILLERS = frozenset(
    [
        "on",
        "at",
        "in",
        "the",
        "around",
        "about",
        "of",
        "just",
        "date",
        "day",
        "sometime",
        "early",
        "late",
        "night",
        "morning",
        "evening",
    ]
)
_LINKS = frozenset(("to", "-", "until", "till", "til", "through", "thru", "up to", "and until"))
_LISTED = frozenset((",", "and", "or", ", and", ", or", "and in", "or in", "and on", "or on"))
_AFTER = frozenset(("after", "since", "following"))
_BEFORE = frozenset(("before", "until", "till", "til", "preceding", "prior"))
_ADJACENT_AFTER = frozenset(("from", "starting", "beginning", "between"))
_ADJACENT_BEFORE = frozenset(("by", "through", "to", "as"))
_ALONE = r"(?=$|[,.;:?!]| that\b)"
_ONWARDS = re.compile(
    rf",? (?:onwards?\b|(?:and|or) (?:later\b(?! than)|beyond\b|onwards?\b|after{_ALONE})"
    r"|(?:to|till|until) (?:now|date|today|the present)\b)"
)
_AND_EARLIER = re.compile(rf",? (?:and|or) (?:earlier\b(?! than)|before{_ALONE})")
_COUNTED = re.compile(
    rf"\b{COUNT}(?: immediately| right| just| directly)? "
    r"(?P<side>before|prior to|preceding|leading up to|after|following|of|from)$"
)
_CLAUSE = re.compile(r"[;?!]|, (?:if|what|which|who|whom|whose|where|when|how|why|did|does|do|was|were|is|has|had)\b")


def read_range(text: str, asked: date | None) -> Span:
    """The range that a prepared text gives; bounds that it does not give are `None`.

    Explicit dates go before those that depend on the day of asking, and intervals before single dates: "if she moved
    in May 2020, what did she do between 3 and 5 June 2021" asks about the interval.

    >>> [str(day) for day in read_range("two months before 5 june 2021", None)]
    ['2021-04-05', '2021-06-05']
    """
    mentions = find_mentions(text)
    if asked is not None:
        mentions = sorted(mentions + find_relative(text, asked), key=lambda mention: mention.start)
    _share_years(mentions, text)
    found: list[list[Span]] = [[], [], [], []]  # intervals and dates; the same for those that depend on `asked`
    i = 0
    while i < len(mentions):
        one = mentions[i]
        left = _left(text, mentions[i - 1].end if i else 0, one.start)
        if i + 1 < len(mentions) and _is_interval(left, text[one.end : mentions[i + 1].start]):
            span = _interval(one, mentions[i + 1], text, asked)
            i += 1
        else:
            resolved = _resolve(one, text, asked)
            span = resolved and _apply(left, one, resolved, text)
        if span:
            single = mentions[i] is one
            found[single + 2 * (one.relative or mentions[i].relative or None in (one.span, mentions[i].span))].append(
                span
            )
        i += 1
    return next((_combine(spans) for spans in found if spans), (None, None))


def _share_years(mentions: list[Mention], text: str) -> None:
    """In "June and July 2022" and "July 9, 2022 or July 11" the one year holds for both."""
    leftwards = [(i - 1, i) for i in range(len(mentions) - 1, 0, -1)]
    rightwards = [(i, i - 1) for i in range(1, len(mentions))]
    for one, other in leftwards + rightwards:
        known = mentions[other].span
        between = text[mentions[min(one, other)].end : mentions[max(one, other)].start].strip()
        if mentions[one].span is None and known and not mentions[other].relative and between in _LISTED:
            mentions[one] = replace(mentions[one], span=_near(mentions[one], known, one < other))


def _near(mention: Mention, known: Span, earlier: bool) -> Span | None:
    """The mention in the year of another date, or in the neighbouring year where only that keeps the order."""
    start, end = known
    if start is None or end is None:
        return None
    span = mention.in_year(end.year if earlier else start.year)
    if span and span[0] and earlier and span[0] > end:
        return mention.in_year(end.year - 1)
    if span and span[1] and not earlier and span[1] < start:
        return mention.in_year(start.year + 1)
    return span


def _left(text: str, floor: int, start: int) -> str:
    """The words before a date that belong to its clause and to no other date."""
    left = text[max(floor, start - REACH_CHARS) : start]
    clauses = list(_CLAUSE.finditer(left))
    return left[clauses[-1].start() if clauses else 0 :].rstrip(" ,(")


def _words(text: str) -> list[str]:
    words = re.findall(r"[a-z0-9'-]+", text)
    while words and words[-1] in _FILLERS:
        words.pop()
    return words


def _is_interval(left: str, gap: str) -> bool:
    link = " ".join(_words(gap.replace(",", " ")))
    return link in _LINKS or (link == "and" and _words(left)[-1:] == ["between"])


def _interval(one: Mention, other: Mention, text: str, asked: date | None) -> Span | None:
    first, last = one.span, other.span
    if first is None and last is None:
        first = _resolve(one, text, asked)
    if first is None:
        first = last and _near(one, last, earlier=True)
    if last is None:
        last = first and _near(other, first, earlier=False)
    return join_spans([first, last]) if first and last else None


def _resolve(mention: Mention, text: str, asked: date | None) -> Span | None:
    if mention.span is not None or asked is None:
        return mention.span
    occurrences = list(latest(mention, asked))
    if not occurrences:
        return None
    return join_spans(occurrences) if _FUTURE.search(text) else occurrences[0]


def _apply(left: str, mention: Mention, span: Span, text: str) -> Span:
    """Open, shift or widen what a date covers by the words before and after it."""
    start, end = span
    counted = _counted(left, span)
    if counted:
        return counted
    if _ONWARDS.match(text, mention.end):
        return start, None
    if _AND_EARLIER.match(text, mention.end):
        return None, end
    words = _words(left)
    last = words[-1] if words else ""
    if last == "than" and len(words) > 1:
        later = words[-2] in ("later", "newer", "more", "recently")
        after = later != ("no" in words[-3:-2] or "not" in words[-3:-2])
        return (start, None) if after else (None, end)
    if mention.first == mention.last:
        if last in _ADJACENT_AFTER:
            return start, None
        if last in _ADJACENT_BEFORE:
            return None, end
    for i in range(len(words) - 1, -1, -1):
        if words[i] in _AFTER:
            return start, None
        if words[i] in _BEFORE or (words[i] == "between" and "and" in words[i + 2 :]):
            return None, end
    return start, end


def _counted(left: str, span: Span) -> Span | None:
    """Two months before or after a date: all that lies between, for some mean the stretch and some its far end."""
    start, end = span
    while left.endswith((" the", " on", " at", " in", " about", " around")):
        left = left.rpartition(" ")[0]
    match = _COUNTED.search(left)
    weekday = re.search(r"day (before|after)$", left)
    if start is None or end is None or not (match or weekday):
        return None
    if match is None:
        by, side, unit = relativedelta(days=7), weekday[1] if weekday else "", ""
    else:
        by, side, unit = length(match["number"], match["unit"]), match["side"], match["unit"].removesuffix("s")
        if match["number"] != "the":
            unit = ""
    first, last = shift(start, -by), shift(end, by)
    if unit:  # "the week before" may be a calendar week
        first, last = (
            min(first, calendar_unit(first, unit)[0] or first),
            max(last, calendar_unit(last, unit)[1] or last),
        )
    if side == "of":
        return first, last
    return (start, last) if side in ("after", "following", "from") else (first, end)


def _combine(spans: list[Span]) -> Span:
    """After one date and before a later one is the stretch between; anything else is all of it."""
    lows = [start for start, end in spans if start and end is None]
    highs = [end for start, end in spans if end and start is None]
    if lows and highs and len(lows) + len(highs) == len(spans) and min(lows) <= max(highs):
        return min(lows), max(highs)
    return join_spans(spans)
