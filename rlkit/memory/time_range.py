"""The time range that a question asks about, read from its words alone.

Knows dates, intervals and expressions relative to the day of asking; refuses to know the memory and the wall clock. A
bound that the words do not give is `None`, never a default date: a range too wide costs a few sessions more to rank,
one too narrow loses the answer, so every doubt widens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from rewards.dates import first_moment, read_date
from rlkit.errors import DataError
from rlkit.memory.bounds import read_range
from rlkit.memory.mentions import shift

TimeRange = tuple["str | None", "str | None"]
Predictor = Callable[[str, "str | None"], TimeRange]
UNKNOWN: TimeRange = (None, None)

MAX_CHARS = 20_000  # no question is longer; what is longer stays unread

_OPTIONS = re.compile(r"(?:^|\s)\(?A[.):]\s")
_SECOND_OPTION = re.compile(r"\s\(?B[.):]\s")
_ISO_CLOCK = re.compile(r"\b([0-9]{4}-[0-9]{2}-[0-9]{2})t[0-9]{2}:[0-9]{2}[0-9:.]{0,14}(?:z|[+-][0-9]{2}:?[0-9]{2})?")
_CLOCK = re.compile(
    r"(?:\bat )?(?<![0-9:])(?:[0-9]{1,2}(?::[0-9]{2}){1,2}(?:\.[0-9]{1,9})?(?: ?[ap]\.?m\b\.?)?|[0-9]{1,2} ?[ap]\.?m\b\.?"
    r"|\b(?:midnight|noon)\b),?(?: (?:on|of)\b)?"
)
_DASHES = str.maketrans({"–": "-", "—": "-", "−": "-", "‐": "-", "’": "'", "…": "."})
# Questions about several events, each with a time of its own: a date in one of them bounds none of the others.
_SEVERAL = re.compile(
    r"\bhow (?:long|much (?:longer|later|earlier|time)|many (?:seconds|minutes|hours|days|nights|weeks|months|years))\b"
    r"|\b(?:duration|time interval|interval|time span|timespan|(?:amount|length) of time|chronological|timeline)\b"
    r"|\b(?:happened|occurred|came|took place|was|comes|began|started|is) (?:the )?(?:first|earlier|later|last|earliest|latest)\b"
    r"|\bfact ?1\b|\bfacts\b|\bsort\b|\b(?:what|which) order\b|\border (?:of|in)\b"
)


@dataclass(frozen=True)
class rule_based:
    """Read a question's time range offline; `margin_days` widens each known bound.

    Explicit dates go before relative ones, and intervals before single dates. Relative ones, and dates without a year,
    are read against `asked_at`, and not at all without it. Questions that order several events or ask for the time
    between them stay unknown. Source: Memory-T1, "Candidate generation", step (a). Raises `DataError` for an `asked_at`
    that is no date. Linear in the text.

    >>> predict = rule_based(margin_days=0)
    >>> predict("What did Ann paint between 3 March and 5 May 2021?", None)
    ('2021-03-03', '2021-05-05')
    >>> predict("What has she read since March 2020?", None), predict("Who went hiking last week?", "2023-05-17")
    (('2020-03-01', None), ('2023-05-08', '2023-05-14'))
    >>> predict("Who went hiking last week?", None), predict("What is her dog called?", "2023-05-17")
    ((None, None), (None, None))
    """

    margin_days: int = 7  # sessions tell of an event within days: benchmarks/time_range.py

    def __post_init__(self) -> None:
        if not isinstance(self.margin_days, int) or self.margin_days < 0:
            raise ValueError(f"margin_days is {self.margin_days!r}, but must be 0 or a whole number of days above it.")

    def __call__(self, question: str, asked_at: str | None = None) -> TimeRange:
        asked = _read_asked(asked_at)
        text = prepare(question)
        if not text or _SEVERAL.search(text):
            return UNKNOWN
        start, end = read_range(text, asked)
        return _moved(start, -self.margin_days), _moved(end, self.margin_days)


def prepare(question: str) -> str:
    """The question in lower case with single spaces, without answer options and without times of day.

    >>> prepare("What did  Ann do at 5:30 PM, May 5?\\nA. Swim\\nB. Run")
    'what did ann do may 5?'
    """
    if len(question) > MAX_CHARS:
        return ""
    first = _OPTIONS.search(question)
    if first and _SECOND_OPTION.search(question, first.end()):
        question = question[: first.start()]
    text = " ".join(question.translate(_DASHES).lower().split())
    return " ".join(_CLOCK.sub(" ", _ISO_CLOCK.sub(r"\1", text)).split())


def _read_asked(asked_at: str | None) -> date | None:
    if asked_at is None:
        return None
    fields = read_date(asked_at)
    if fields is None:
        raise DataError(
            f'asked_at is {asked_at!r:.80}, which is no date, so "last week" cannot be read against it; write it as '
            "2024-05-01 or 2024-05-01T10:00:00, or null where it is unknown."
        )
    return first_moment(fields).date() if len(fields) >= 3 else None


def _moved(day: date | None, days: int) -> str | None:
    if day in (None, date.min, date.max):  # out of the calendar: beyond any memory, so it bounds nothing
        return None
    return shift(day, timedelta(days)).isoformat()
