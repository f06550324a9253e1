"""How hard a record is, so that one data set can be its own easy and hard source.

Measures are pure functions of a record (a dict in the project's layout, or a mapping that has the fields read
here). They refuse to know prompts, tokenizers and where rows come from. A measure gives None where the record
does not say; None is never 0, and meets no condition.

A condition is a pair [lowest, highest], both included, with None for an open end. Conditions name one of the
measures below, or, in Python, hold any function `record -> number | None` of your own as their key.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

from .names import listed, nearest

Row = Mapping[str, Any]
Measure = Callable[[Row], "float | None"]


def context_words(record: Row) -> int:
    """Words in the passages' texts (titles left out) and in the utterances of the sessions; 0 without any.

    >>> context_words({"context": [{"title": "Emma", "text": "A novel by Jane Austen."}, "It appeared in 1815."]})
    9
    """
    passages = sum(_words(p if isinstance(p, str) else p["text"]) for p in record.get("context") or ())
    return passages + sum(_session_words(session) for session in record.get("sessions") or ())


def hops(record: Row) -> int | None:
    """The record's own field `hops`, else the number of distinct labelled evidence items; None where nothing
    is labelled.

    An evidence item is a supporting sentence, passage or session, as the data set labels it: where several
    sentences belong to one hop, give the records a `hops` field. Raises ValueError for a `hops` that is no
    whole number >= 0.

    >>> hops({"evidence": ["Emma is by Jane Austen.", "Jane Austen was born in Steventon."]})
    2
    >>> hops({"evidence": ["one passage"], "hops": 3}), hops({"evidence": []})
    (3, None)
    """
    given = record.get("hops")
    if given is None:
        return len(set(record.get("evidence") or ())) or None
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise ValueError(f"hops: {given!r} is not a whole number >= 0. Correct the field or leave it out.")
    return given


def evidence_words(record: Row) -> int | None:
    """Words in the distinct labelled evidence, for session ids in those sessions; None where nothing is
    labelled.

    >>> evidence_words({"evidence": ["Emma is by Jane Austen."]})
    5
    >>> session = {"id": "s2", "utterances": [{"text": "See you on Monday."}]}
    >>> evidence_words({"evidence": ["s2"], "sessions": [session]})
    4
    """
    evidence = set(record.get("evidence") or ())
    if not evidence:
        return None
    sessions = record.get("sessions")
    if sessions:
        return sum(_session_words(session) for session in sessions if session["id"] in evidence)
    return sum(map(_words, evidence))


MEASURES: Mapping[str, Measure] = {
    "context_words": context_words,
    "hops": hops,
    "evidence_words": evidence_words,
}
"""The measures that a config can name."""


def select(rows: Iterable[Row], conditions: Mapping[str | Measure, Sequence[float | None]]) -> array[int]:
    """The numbers of the rows that meet every condition, in order: the key `where:` of a source.

    Reads `rows` once and holds one at a time. No conditions keep every row. Raises ValueError for an unknown
    measure, for a condition that is no range, for a row that cannot be measured, and where a condition finds
    no row that says.

    >>> rows = [{"context": ["a short one"]}, {"context": ["a longer one " * 200]}]
    >>> list(select(rows, {"context_words": [None, 300]}))
    [0]
    >>> list(select(rows, {lambda record: len(record["context"]): [1, 1]}))
    [0, 1]
    >>> select(rows, {"hop": [2, 2]})
    Traceback (most recent call last):
    ValueError: where.hop: no such measure; there are 'context_words', 'hops', 'evidence_words'. Did you mean 'hops'?
    """
    if not isinstance(conditions, Mapping):
        raise ValueError(
            f"where: {conditions!r} is not a mapping of measures to ranges, so it selects nothing. Write "
            "{context_words: [null, 300]}."
        )
    tests = []
    for key, condition in conditions.items():
        name, measure = _measure(key, "where.")
        tests.append((f"where.{name}", measure, *_range(condition, f"where.{name}")))
    asked, known = [0] * len(tests), [0] * len(tests)
    kept = array("Q")
    for number, row in enumerate(rows):
        for test, (path, measure, lowest, highest) in enumerate(tests):
            value = _value(measure, row, number, path)
            asked[test] += 1
            known[test] += value is not None
            if value is None or not lowest <= value <= highest:
                break
        else:
            kept.append(number)
    for (path, *_), were_asked, were_known in zip(tests, asked, known, strict=True):
        _check_known(path, were_asked, were_known)
    return kept


def bucket(
    rows: Iterable[Row], measure: str | Measure, ranges: Mapping[str, Sequence[float | None]]
) -> dict[str, array[int]]:
    """The numbers of the rows in each named range of one measure; a row outside all of them is in none.

    Reads `rows` once and holds one at a time. Raises ValueError as `select` does, and for ranges that
    overlap, since a row would then be in two sources.

    >>> rows = [{"hops": 2}, {"hops": 4}, {"hops": 2}, {}]
    >>> {name: list(found) for name, found in bucket(rows, "hops", {"easy": [None, 2], "hard": [3, None]}).items()}
    {'easy': [0, 2], 'hard': [1]}
    """
    name, function = _measure(measure, "")
    bounds = {key: _range(condition, f"{name}.{key}") for key, condition in ranges.items()}
    by_lowest = sorted(bounds, key=bounds.__getitem__)
    for left, right in pairwise(by_lowest):
        if bounds[left][1] >= bounds[right][0]:
            raise ValueError(
                f"{name}: the ranges {left!r} and {right!r} overlap at {bounds[right][0]:g}, so a row could be in two "
                "sources. Both ends are included: let one begin above where the other ends."
            )
    found = {key: array("Q") for key in ranges}
    asked = known = 0
    for number, row in enumerate(rows):
        value = _value(function, row, number, name)
        asked += 1
        if value is None:
            continue
        known += 1
        for key, (lowest, highest) in bounds.items():
            if lowest <= value <= highest:
                found[key].append(number)
    _check_known(name, asked, known)
    return found


def _words(text: str) -> int:
    return len(text.split())


def _session_words(session: Mapping[str, Any]) -> int:
    return sum(_words(utterance.get("text") or "") for utterance in session.get("utterances") or ())


def _measure(measure: str | Measure, path: str) -> tuple[str, Measure]:
    if callable(measure):
        return getattr(measure, "__name__", type(measure).__name__), measure
    if measure not in MEASURES:
        known = f"there are {listed(MEASURES)}.{nearest(measure, MEASURES)}"
        raise ValueError(f"{path}{measure}: no such measure; {known}")
    return measure, MEASURES[measure]


def _range(condition: Sequence[float | None], path: str) -> tuple[float, float]:
    pair = condition if isinstance(condition, (list, tuple)) and len(condition) == 2 else ("no", "pair")
    for bound in pair:
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, Real) or math.isnan(bound)):
            raise ValueError(
                f"{path}: {condition!r} is not a pair [lowest, highest] of numbers, so it bounds nothing. "
                "Write [2, 4], or null for an open end: [2, null]."
            )
    lowest, highest = pair
    if lowest is None and highest is None:
        raise ValueError(f"{path}: {condition!r} is open at both ends, so it bounds nothing. Take it out.")
    ends = (-math.inf if lowest is None else float(lowest), math.inf if highest is None else float(highest))
    if ends[0] > ends[1]:
        raise ValueError(f"{path}: {condition!r} has its ends the wrong way round, so no row could meet it.")
    return ends


def _value(measure: Measure, row: Row, number: int, path: str) -> float | None:
    try:
        value = measure(row)
    except Exception as error:
        raise ValueError(
            f"{path}: row {number} (id {row.get('id')!r}) cannot be measured: {type(error).__name__}: {error}"
        ) from error
    if value is not None and (not isinstance(value, Real) or math.isnan(value)):
        raise ValueError(
            f"{path}: row {number} (id {row.get('id')!r}) measures {value!r}, which is no number, so it cannot be "
            "compared. A measure gives a number, or None where the record does not say."
        )
    return value


def _check_known(path: str, asked: int, known: int) -> None:
    if asked and not known:
        raise ValueError(
            f"{path}: none of the {asked} rows says (the field or the labels it reads are missing), so every row "
            "would be dropped. Take the condition out, or label the rows."
        )
