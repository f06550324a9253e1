"""Labelled facts in a text: find each, make it verbatim, put it in retrieval tags, none inside another's.

Knows texts; refuses to know who wrote them. What counts as the same fact is what counts as a quote in `rewards`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rewards.parse_care import END_RETRIEVAL, RETRIEVAL
from rewards.quotes import Match, locate
from rewards.sample import Passage


class Place(NamedTuple):
    """Where a fact stands in a text, as character offsets, and how like it that stretch is (1 = word for word)."""

    start: int
    end: int
    fact: str
    similarity: float


@dataclass
class Placed:
    """The facts of a text that were found, in the order of the text, and those that were not.

    `inside`: facts that stand in the text, but only where another fact stands.
    """

    places: list[Place] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)

    @property
    def aligned(self) -> int:
        """How many facts were not word for word."""
        return sum(place.similarity < 1 for place in self.places)


def verbatim_facts(record: Mapping[str, Any]) -> list[str]:
    """The labelled facts of a record as its passages write them; one that stands in no passage comes out empty.

    >>> verbatim_facts({"evidence": ["emma is  a novel."], "context": [{"title": "", "text": "Emma is\\ta novel."}]})
    ['Emma is\\ta novel.']
    """
    passages = [Passage(passage["text"]) for passage in record.get("context") or ()]
    return [_as_written(fact, passages) for fact in record.get("evidence") or ()]


def find_facts(text: str, facts: Sequence[str], min_similarity: float) -> Placed:
    """A place of its own for every fact: word for word (but for case and white space), else the most similar one.

    Similar means: at least `min_similarity` of the characters align, and the words that differ change no number,
    negation or name (`rewards.quotes.locate`). Of facts of which one holds the other, the longer is placed first.

    >>> placed = find_facts("As Leo is old, he sat. Ann is not Leo's aunt.", ["Leo is old.", "Ann is Leo's aunt."], 0.8)
    >>> placed.missing
    ['Leo is old.', "Ann is Leo's aunt."]
    >>> [text.start for text in find_facts("So Leo is an old man now.", ["Leo is an old man."], 0.8).places]
    [3]
    """
    placed = Placed()
    by_length = sorted(dict.fromkeys(facts), key=len, reverse=True)
    wanted = by_length
    for threshold in dict.fromkeys((1.0, min_similarity)):
        left = []
        for fact in wanted:
            place = _place(text, fact, placed.places, threshold)
            if place is None:
                left.append(fact)
            else:
                placed.places = sorted([*placed.places, place])
        wanted = left
    for fact in facts:
        if fact in wanted:
            there = _place(text, fact, [], min_similarity)
            (placed.missing if there is None else placed.inside).append(fact)
    return placed


def tag_facts(text: str, places: Sequence[Place]) -> str:
    """The text with every found fact word for word in retrieval tags.

    >>> tag_facts("So Emma is an 1815 novel, as said.", [Place(3, 24, "Emma is an 1815 novel.", 0.98)])
    'So <retrieval>Emma is an 1815 novel.</retrieval>, as said.'
    """
    parts = []
    done = 0
    for place in sorted(places):
        parts += [text[done : place.start], RETRIEVAL, place.fact, END_RETRIEVAL]
        done = place.end
    return "".join([*parts, text[done:]])


def _as_written(fact: str, passages: Sequence[Passage]) -> str:
    if any(fact in passage.text for passage in passages):
        return fact
    match = locate(fact, passages, threshold=1.0)
    return passages[match.passage].text[match.start : match.end] if match else ""


def _place(text: str, fact: str, taken: Sequence[Place], threshold: float) -> Place | None:
    """The fact's place in what is not taken; no match reaches over a taken stretch."""
    starts = [0, *(place.end for place in taken)]
    ends = [*(place.start for place in taken), len(text)]
    free = [(start, end) for start, end in zip(starts, ends, strict=True) if text[start:end].strip()]
    if not free:
        return None
    match = locate(fact, [Passage(text[start:end]) for start, end in free], threshold)
    if match is None:
        return None
    origin, limit = free[match.passage]
    start, end = _with_marks(text, fact, match, origin, limit)
    return Place(start, end, fact, match.score)


def _with_marks(text: str, fact: str, match: Match, origin: int, limit: int) -> tuple[int, int]:
    """The stretch with the full stop or bracket that the fact brings along and an aligned match leaves out."""
    start, end = origin + match.start, origin + match.end
    if match.kind == "fuzzy":
        first = next((at for at, char in enumerate(fact) if char.isalnum()), 0)
        last = next((at for at in range(len(fact), 0, -1) if fact[at - 1].isalnum()), len(fact))
        end += _shared(fact[last:], text[end:limit])
        start -= _shared(fact[:first][::-1], text[origin:start][::-1])
    return start, end


def _shared(marks: str, text: str) -> int:
    """How many characters the two have in common at their beginning."""
    pairs = zip(marks, text, strict=False)
    return next((at for at, (mine, other) in enumerate(pairs) if mine != other), min(len(marks), len(text)))
