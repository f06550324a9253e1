"""Dates and durations: the forms that people write, what is never filled in, and what is unreadable."""

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.dates import agrees, gap_days, is_before, last_moment, read_date, read_duration

EVENING = (2024, 1, 15, 22, 45, 41)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("10:45:41 pm, January 15, 2024", EVENING),
        ("January 15, 2024 at 10:45:41 PM", EVENING),
        ("2024-01-15T22:45:41", EVENING),
        ("2024-01-15 22:45:41", EVENING),
        ("2024-01-15T22:45:41.123+02:00", EVENING),
        ("2024-01-15T22:45:41Z", EVENING),
        ("<2024-01-15T22:45:41>", EVENING),
        ("Monday, January 15, 2024 22:45:41", EVENING),
        ("1:56 pm on 8 May, 2023", (2023, 5, 8, 13, 56, 0)),
        ("12:24:33 am, January 12, 2024", (2024, 1, 12, 0, 24, 33)),
        ("12:00 p.m., January 12, 2024", (2024, 1, 12, 12, 0, 0)),
        ("8 pm, May 16, 2022", (2022, 5, 16, 20, 0, 0)),
        ("July 27, 2022", (2022, 7, 27)),
        ("on the 3rd of Sept. 2022", (2022, 9, 3)),
        ("2022/3/27", (2022, 3, 27)),
        ("3/27/2022", (2022, 3, 27)),
        ("27/3/2022", (2022, 3, 27)),
        ("4/3/2022", (2022, 4, 3)),
        ("2022-03-27", (2022, 3, 27)),
        ("May, 2023", (2023, 5)),
        ("2023-05", (2023, 5)),
        ("2021", (2021,)),
    ],
)
def test_common_forms_are_read(text: str, fields: tuple[int, ...]) -> None:
    assert read_date(text) == fields


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "Friday",
        "May 3",
        "10:45",
        "10:45 pm",
        "10:45 pm, May 2023",
        "10:10 am, May 2023",
        "15:21:31 pm, July 24, 2025",
        "25:00, July 24, 2025",
        "January 15, 2024 or January 16, 2024",
        "January 15 16, 2024",
        "Jan 15-16, 2024",
        "Jan 15 Feb 2024",
        "2024-01-15 2024-01-16",
        "2023 2024",
        "10:45 pm January 15, 2024 10:46 pm",
        "10.01.2024 15:20:23, July 24, 2025",
        "January 15, 24",
        "2023-02-29",
        "February 30, 2024",
        "2023-13-01",
        "27/13/2022",
        "0000-01-01",
        "(1)(4)(3)(2)",
        "64 days",
        "B",
        "around January 15, 2024",
        "January 15, 2024" + " " * 90 + ".",
        "٢٠٢٤-٠١-١٥",
        "９９９９-01-01",
    ],
)
def test_missing_fields_are_never_filled_in_and_hedges_are_unreadable(text: str) -> None:
    assert read_date(text) is None


@settings(deadline=None, max_examples=100)
@given(st.datetimes(datetime(1000, 1, 1)))
def test_what_python_writes_is_read_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    fields = tuple(moment.timetuple())[:6]
    assert read_date(moment.isoformat()) == read_date(f"{moment:%I:%M:%S %p, %B %d, %Y}") == fields
    assert read_date(moment.date().isoformat()) == read_date(f"{moment:%d %b %Y}") == fields[:3]


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=90) | st.text("0123456789:/-,. ampmjanurydecf²٣", max_size=40))
def test_any_text_is_a_date_or_none_and_a_duration_or_none(text: str) -> None:
    fields = read_date(text)
    assert fields is None or last_moment(fields).year == fields[0]
    length = read_duration(text)
    assert length is None or length >= 0


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ((2024, 1, 15, 22, 45, 59), EVENING, True),
        ((2024, 1, 15, 22, 46, 41), EVENING, False),
        ((2024, 1, 15), EVENING, False),
        (EVENING, (2024, 1, 15), True),
        ((2014, 1, 15), (2024, 1, 15), False),
        ((2023, 5, 4), (2023, 5), True),
        ((2023,), (2023, 5), False),
    ],
)
def test_dates_agree_to_what_the_gold_says(answer: tuple[int, ...], gold: tuple[int, ...], right: bool) -> None:
    assert agrees(answer, gold) is right


def test_gaps_are_fractional_with_times_and_whole_days_without() -> None:
    assert gap_days((2024, 3, 1, 18, 0, 0), (2024, 3, 2, 6, 0, 0)) == 0.5
    assert gap_days((2024, 3, 1, 18, 0, 0), (2024, 3, 2)) == 1.0
    assert gap_days((2024, 2), (2024, 3, 1)) == 1.0
    assert not is_before((2024, 3, 1, 0, 0, 0), (2024, 3, 1))
    assert not is_before((2024,), (2024, 3, 1))
    assert is_before((2024, 3, 1, 0, 0, 0), (2024, 3, 1, 0, 0, 1))


@settings(deadline=None, max_examples=60)
@given(st.dates(), st.dates())
def test_gaps_between_days_are_their_difference(one: date, other: date) -> None:
    fields = (one.year, one.month, one.day), (other.year, other.month, other.day)
    assert gap_days(*fields) == (other - one).days
    assert is_before(*fields) == (one < other)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1 day", timedelta(days=1)),
        ("a day", timedelta(days=1)),
        ("24 hours", timedelta(days=1)),
        ("two weeks", timedelta(days=14)),
        ("9 days 23 hours 54 minutes 54 seconds", timedelta(days=9, hours=23, minutes=54, seconds=54)),
        ("9 days, 23 hours, and 54 minutes.", timedelta(days=9, hours=23, minutes=54)),
        ("1 hr 30 mins", timedelta(hours=1.5)),
        ("1.5 hours", timedelta(hours=1.5)),
        ("3d4h", timedelta(days=3, hours=4)),
        ("1,000 days", timedelta(days=1000)),
        ("0 seconds", timedelta(0)),
    ],
)
def test_durations_of_one_to_many_units_are_read(text: str, length: timedelta) -> None:
    assert read_duration(text) == length.total_seconds()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know",
        "64",
        "days",
        "-3 days",
        "3 days or 4 days",
        "3 days 4 days",
        "3 days, ",
        "3 days and",
        "between 3 and 4 days",
        "3 fortnights",
        "10:45:41 pm, July 24, 2025",
        "2022-09-10T13:11:00",
        "9" * 70 + " days",
        "3 days" + " " * 90 + "1 hour",
    ],
)
def test_what_is_no_duration_is_none(text: str) -> None:
    assert read_duration(text) is None


def test_units_are_consistent_with_each_other() -> None:
    assert read_duration("2 years 3 months") == read_duration("27 months")
    assert read_duration("1 week") == read_duration("7 days")
    assert read_duration("4 years") == read_duration("1461 days")
