"""Do the quotes hold the facts that the answer needs? Compares them with the labelled evidence of a row.

The only CARE part that looks at labelled evidence. Knows neither the answer nor how a quote was introduced.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rewards.errors import RewardError, nearest
from rewards.grounding import check_share, folded_evidence, has_passages
from rewards.quotes import Book, Quote, find_quotes, open_book, places
from rewards.sample import Sample
from rewards.text import words

Range = tuple[int, int]
MEASURES = ("f1", "precision", "recall")


@dataclass(frozen=True)
class fact_coverage:
    """How well the quotes cover the labelled supporting facts, in [0, 1]; no quote = 0.

    - recall: the share of the facts that are covered; a fact is, when at least `min_share` of its words stand in quotes;
    - precision: the share of the quoted words that stand in a fact, which is what quoting everything costs;
    - f1: 2 precision recall / (precision + recall), the default, because recall alone is highest for a quote of the
      whole context.
    Only quotes that stand in the passages count as in `quotes_in_context`; the words of all others lower precision. Where
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
        return has_passages(sample) and any(text.strip() for text in sample.evidence)

    def __call__(self, sample: Sample) -> float | None:
        if not self.applies(sample):
            return None
        if not sample.care.spans:
            return 0.0
        book = open_book(tuple(sample.context))
        facts = folded_evidence(sample)
        quotes = find_quotes(sample.care.spans, book, self.threshold, facts)
        recall = self._recall(facts, quotes, book)
        precision = _precision(facts, quotes, book)
        if self.measure == "recall":
            return recall
        if self.measure == "precision":
            return precision
        return 2 * precision * recall / (precision + recall) if precision and recall else 0.0

    def _recall(self, facts: tuple[str, ...], quotes: list[Quote], book: Book) -> float:
        quoted = _union(stretch for quote in quotes for stretch in _everywhere(quote, book, facts))
        covered = 0
        for fact in facts:
            needed = self.min_share * _count_words(fact)
            stretches = ((start, start + len(fact)) for start in places(fact, book, whole_words=False))
            covered += any(_words_inside(book, stretch, quoted) >= needed for stretch in stretches)
        return covered / len(facts)


def _precision(facts: tuple[str, ...], quotes: list[Quote], book: Book) -> float:
    supporting = _union((start, start + len(fact)) for fact in facts for start in places(fact, book, whole_words=False))
    quoted = relevant = 0
    for quote in quotes:
        count = _count_words(quote.text)
        inside = max(
            (_words_inside(book, stretch, supporting) for stretch in _everywhere(quote, book, facts)), default=0
        )
        quoted += count
        relevant += min(count, inside)
    return relevant / quoted if quoted else 0.0


def _everywhere(quote: Quote, book: Book, facts: tuple[str, ...]) -> list[Range]:
    """All stretches of the book that a quote may refer to: a sentence can stand in two passages."""
    if not quote.score:
        return []
    starts = places(quote.text, book, whole_words=quote.text not in facts)
    return [(start, start + len(quote.text)) for start in starts] or [(quote.start, quote.end)]


def _union(stretches: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _words_inside(book: Book, stretch: Range, union: list[Range]) -> int:
    """How many words of a stretch lie wholly inside a union of stretches."""
    start, end = stretch
    i = max(0, bisect_right(union, (start, end)) - 1)
    inside = 0
    while i < len(union) and union[i][0] < end:
        lo, hi = max(start, union[i][0]), min(end, union[i][1])
        inside += _count_words(book.folded[lo:hi]) if lo < hi else 0
        i += 1
    return inside


def _count_words(text: str) -> int:
    """Words of a text; one for text of symbols only."""
    return len(words(text)) or bool(text)
