"""Do the quotes hold the facts that the answer needs? Compares them with the labelled evidence of a row.

The only CARE part that looks at labelled evidence. Knows neither the answer nor how a quote was introduced.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rewards.errors import RewardError, nearest
from rewards.grounding import check_share, folded_evidence, has_passages
from rewards.quotes import Book, Quote, find_quotes, open_book, places
from rewards.sample import Sample
from rewards.text import words

Range = tuple[int, int]
MEASURES = ("f1", "precision", "recall")


class Coverage(NamedTuple):
    """Which of the labelled facts the quotes cover, and the share of the quoted characters that stand in a fact."""

    facts: tuple[str, ...]
    covered: tuple[bool, ...]
    precision: float

    @property
    def recall(self) -> float:
        return sum(self.covered) / len(self.facts)


@dataclass(frozen=True)
class fact_coverage:
    """How well the quotes cover the labelled supporting facts, in [0, 1]; no quote = 0.

    - recall: the share of the facts that are covered; a fact is, when at least `min_share` of its words stand in quotes;
    - precision: the share of the quoted characters that stand in a fact, which is what quoting everything costs;
    - f1: 2 precision recall / (precision + recall), the default, because recall alone is highest for a quote of the
      whole context.
    Only quotes that stand in the passages count as in `quotes_in_context`; the text of all others lowers precision. Where
    whole paragraphs are labelled (MuSiQue), a lower `min_share` lets one sentence of each count. Applies to rows with
    passages and labelled evidence.

    >>> row = Sample(context=["Ada hired Leo. Leo visited Fenwick. Leo praised Kelmore."],
    ...              evidence=["Ada hired Leo.", "Leo visited Fenwick."])
    >>> one_of_two = row.with_completion("<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Fenwick")
    >>> [fact_coverage(measure)(one_of_two) for measure in ("recall", "precision")]
    [0.5, 1.0]
    """

    measure: str = "f1"
    min_share: float = 0.8
    threshold: float = 0.85

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise RewardError(
                f"measure is {self.measure!r}, but must be one of three. {nearest(str(self.measure), MEASURES)}"
            )
        check_share("min_share", self.min_share, "0.8 asks for four words in five of a fact")
        check_share("threshold", self.threshold, "0.85 asks for 85 % of equal characters, 1 for verbatim quotes")

    def applies(self, sample: Sample) -> bool:
        return has_passages(sample) and bool(sample.evidence)

    def __call__(self, sample: Sample) -> float | None:
        if not self.applies(sample):
            return None
        if not sample.care.spans:
            return 0.0
        judged = self.judged(sample)
        recall, precision = judged.recall, judged.precision
        if self.measure == "recall":
            return recall
        if self.measure == "precision":
            return precision
        return 2 * precision * recall / (precision + recall) if precision and recall else 0.0

    def judged(self, sample: Sample) -> Coverage:
        """Which facts are covered, and how much of what is quoted belongs to a fact; for rows that it applies to."""
        book = open_book(tuple(sample.context))
        facts = folded_evidence(sample)
        found, lost = find_quotes(sample.care.spans, book, self.threshold, facts)
        stretches = [_everywhere(quote, book) for quote in found]
        precision = _precision(facts, stretches, book, sum(map(len, lost)))
        return Coverage(facts, self._covered(facts, stretches, book), precision)

    def _covered(self, facts: tuple[str, ...], quotes: list[list[Range]], book: Book) -> tuple[bool, ...]:
        quoted = _union(stretch for stretches in quotes for stretch in stretches)

        def shared_words(stretch: Range) -> int:
            return sum(_count_words(book.folded[start:end]) for start, end in _common(stretch, quoted))

        def is_covered(fact: str) -> bool:
            needed = self.min_share * _count_words(fact)
            return any(shared_words(stretch) >= needed for stretch in _stretches(fact, book))

        return tuple(map(is_covered, facts))


def _precision(facts: tuple[str, ...], quotes: list[list[Range]], book: Book, lost_chars: int) -> float:
    """How much of the quoted text stands in facts, each place counted once; `lost_chars` stand nowhere."""
    supporting = _union(stretch for fact in facts for stretch in _stretches(fact, book))
    quoted = _union(max(stretches, key=lambda stretch: _shared_chars(stretch, supporting)) for stretches in quotes)
    relevant = sum(_shared_chars(stretch, supporting) for stretch in quoted)
    return relevant / max(1, sum(end - start for start, end in quoted) + lost_chars)


def _everywhere(quote: Quote, book: Book) -> list[Range]:
    """All stretches of the book that a quote may refer to: a sentence can stand in two passages."""
    starts = places(quote.text, book, whole_words=True)
    return [(start, start + len(quote.text)) for start in starts] or [(quote.start, quote.end)]


def _stretches(fact: str, book: Book) -> list[Range]:
    return [(start, start + len(fact)) for start in places(fact, book, whole_words=False)]


def _union(stretches: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _common(stretch: Range, union: list[Range]) -> list[Range]:
    """What a stretch and a union of stretches have in common."""
    start, end = stretch
    common = []
    for lo, hi in union[max(0, bisect_right(union, (start, end)) - 1) :]:
        if lo >= end:
            break
        if hi > start:
            common.append((max(start, lo), min(end, hi)))
    return common


def _shared_chars(stretch: Range, union: list[Range]) -> int:
    return sum(end - start for start, end in _common(stretch, union))


def _count_words(text: str) -> int:
    """Words of a text; one for text of symbols only."""
    return len(words(text)) or bool(text)
