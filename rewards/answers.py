"""Answers of Memory-T1 judged by their kind: choice, time, duration, order or text.

Knows how an answer of each kind is written; refuses to know the sessions, and reads every answer in one fixed way that
does not depend on the gold, so that an answer which names several candidates gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from rewards.dates import Fields, agrees, read_date, read_duration
from rewards.errors import RewardError, RowError, nearest
from rewards.sample import Sample
from rewards.text import bag_f1, same_answer

Items = tuple[str, ...]  # of an answer or a gold; one unless it is a list

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BETWEEN_LETTERS = re.compile(r"[\s,;/&+|()\[\]]+")
_AROUND_LETTER = "{}<>.:*\"'`"
_LETTER_WITH_TEXT = re.compile(r"\W{0,3}([A-Za-z])[.):]\W{0,3}\s+\S")
_ANOTHER_LETTER = re.compile(r"\b(?:or|and)\s+\(?([A-Z])[.):](?!\w)")
_ORDER_ITEM = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class temporal_answer:
    """R_a by the row's `kind` (Memory-T1, "Reward"), from 0 to 1, the best over all golds.

    - choice: the set of letters is the gold's;
    - time: the same date, or the same minute when the gold has one;
    - duration: the total length differs by at most `tolerance`, as a share of the gold's length;
    - order: the share of positions that agree, over the longer of the two;
    - text: bag-of-tokens F1.

    Several golds that are one letter (choice) or one item (order) each are together one answer. A gold that is not of
    its kind, such as "Friday" for a time, is compared as normalised text. `None` for a completion that cannot be read,
    because `memory_format` pays for that. Raises `RowError` for an unknown kind.

    >>> row = Sample(kind="duration", golds="1 year", completion='{"selected_memory": ["s1"], "answer": "12 months"}')
    >>> temporal_answer()(row)
    1.0
    """

    tolerance: float = 0.02

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not isinstance(self.tolerance, int | float) or not 0 <= self.tolerance < 1:
            raise RewardError(
                f"tolerance is {self.tolerance!r}, but must be a share of the gold's length from 0 to below 1, else every "
                "short duration is right; 0.02 allows one hour in two days."
            )

    def applies(self, sample: Sample) -> bool:
        if sample.kind not in _KINDS:
            raise RowError(
                f"its kind is {sample.kind!r}, so it is unknown how to compare the answer. {nearest(sample.kind, _KINDS)}"
            )
        return True

    def __call__(self, sample: Sample) -> float | None:
        if not sample.memory.ok or not self.applies(sample):
            return None
        given = sample.memory.answer
        answer = (given,) if isinstance(given, str) else given
        return max((self._grade(sample.kind, answer, gold) for gold in _golds(sample)), default=None)

    def _grade(self, kind: str, answer: Items, gold: Items) -> float:
        read, compare = _KINDS[kind]
        wanted, given = read(gold), read(answer)
        if wanted is None:
            return float(same_answer(", ".join(answer), ", ".join(gold)))
        return 0.0 if given is None else compare(given, wanted, self.tolerance)


def _golds(sample: Sample) -> list[Items]:
    read, _ = _KINDS[sample.kind]
    if sample.kind in ("choice", "order") and all(len(read((gold,)) or ()) == 1 for gold in sample.golds):
        return [tuple(sample.golds)]
    return [(gold,) for gold in sample.golds]


def read_letters(items: Items) -> frozenset[str] | None:
    """The letters that a choice names, e.g. "B  C" or "B, C"; `None` where it names none or says something else."""
    letters: set[str] = set()
    for line in {line.strip() for item in items for line in item.splitlines()}:
        found = _letters_in_line(line)
        if found is None:
            return None
        letters |= found
    return frozenset(letters) or None


def _letters_in_line(line: str) -> frozenset[str] | None:
    """The letters of "B  C", "B, C and D", "(B)", "BC" or "B. text of the option"; `None` for anything else."""
    tokens = [token for token in (part.strip(_AROUND_LETTER) for part in _BETWEEN_LETTERS.split(line)) if token]
    letters = frozenset(token.upper() for token in tokens if token.lower() != "and")
    if letters <= _LETTERS:
        return letters
    if len(tokens) == 1 and tokens[0] == "".join(sorted(_LETTERS & set(tokens[0]))):
        return frozenset(tokens[0])
    option = _LETTER_WITH_TEXT.match(line)
    if option is None:
        return None
    letter = option.group(1).upper()
    others = _ANOTHER_LETTER.findall(line, option.end(1))
    return None if set(others) - {letter} else frozenset(letter)  # "B) or C)" is no choice


def _same(given: object, wanted: object, tolerance: float) -> float:
    return float(given == wanted)


def _date(items: Items) -> Fields | None:
    return read_date(", ".join(items))


def _same_date(given: Fields, wanted: Fields, tolerance: float) -> float:
    return float(agrees(given, wanted))


def _duration(items: Items) -> float | None:
    return read_duration(", ".join(items))


def _same_duration(given: float, wanted: float, tolerance: float) -> float:
    return float(abs(given - wanted) <= tolerance * wanted)


def _order(items: Items) -> Items | None:
    return tuple(_ORDER_ITEM.findall(", ".join(items).casefold())) or None


def _agreeing_positions(given: Items, wanted: Items, tolerance: float) -> float:
    agreeing = sum(one == other for one, other in zip(given, wanted, strict=False))
    return agreeing / max(len(given), len(wanted))


def _text(items: Items) -> str:
    return ", ".join(items)


def _overlap(given: str, wanted: str, tolerance: float) -> float:
    return bag_f1(given, wanted)


# How to read an answer of each kind (`None` where it is not of the kind), and how to compare two that could be read.
_KINDS: dict[str, tuple[Callable[[Items], Any], Callable[[Any, Any, float], float]]] = {
    "choice": (read_letters, _same),
    "time": (_date, _same_date),
    "duration": (_duration, _same_duration),
    "order": (_order, _agreeing_positions),
    "text": (_text, _overlap),
}
