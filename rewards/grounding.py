"""Does the reasoning quote its passages? Pays for each distinct quote that stands in them, less for quoting too much.

Needs no labels. It cannot tell a useful quote from a useless one: `fact_coverage` can, where evidence is labelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from rewards.errors import RewardError
from rewards.quotes import Book, Quote, find_quotes, open_book
from rewards.sample import Sample
from rewards.text import fold, says_something

SLACK = 1.5  # quoted characters allowed for each that is needed
ALWAYS_ALLOWED_CHARS = 200  # two short sentences
ALWAYS_ALLOWED_SENTENCES = 3  # and no more of a made-up world, whose 200 characters are everything there is
LONGEST_SENTENCE_CHARS = 400  # text without full stops is no sentence


class Grounding(NamedTuple):
    """What became of the quotes of one completion, before it is one number.

    `places` holds the quotes that count, those of one place together; `mute` stand in the passages but say too little,
    `lost` do not stand in them.
    """

    places: list[list[Quote]]
    mute: list[Quote]
    lost: list[str]
    quoted_chars: int
    allowed_chars: float

    @property
    def values(self) -> list[float]:
        """What each place is worth: shifted copies of one quote cannot outweigh a bad one."""
        return [min(quote.score for quote in quotes) for quotes in self.places]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / (len(self.places) + len(self.mute) + len(self.lost))

    @property
    def factor(self) -> float:
        """What quoting too much costs: 1 = nothing."""
        return min(1.0, self.allowed_chars / max(self.quoted_chars, 1))


@dataclass(frozen=True)
class quotes_in_context:
    """How much of what a completion quotes stands in the row's passages, in [0, 1] (CARE, section 3.3).

    The mean over the distinct quotes in the think block, no quote = 0, each worth
    - 1 if it stands in one passage after white space and case folding, at word boundaries;
    - its similarity if it has five words or more, rapidfuzz aligns it at `threshold` or above and what differs turns no
      number, measure, negation, name or side (`threshold=1` asks for verbatim quotes);
    - 0 otherwise, and 0 with fewer than `min_words` words or fewer than two that are not English function words ("is
      known for its"), unless it is labelled evidence.
    Quotes that overlap by half count once, with the least of their values. The mean is multiplied by allowed / quoted
    characters when more is quoted than allowed:
    - evidence labelled: 1.5 times its length (at least 200 characters, or `max_share` of the passages if that is less);
    - otherwise `max_share` of the passages up to `max_quoted_chars`, and always 1.5 times the longest sentence or 200
      characters, but no more than three times the longest sentence.
    Question, titles and instructions are no evidence. Applies to rows with passages.

    >>> row = Sample(context=["Emma is an 1815 novel by Jane Austen."])
    >>> rate = quotes_in_context()
    >>> def quoting(*spans): return rate(row.with_completion(f"<think>{''.join(spans)}</think> Answer: Jane Austen"))
    >>> quoting("<retrieval>an 1815 novel by Jane Austen</retrieval>"), quoting()
    (1.0, 0.0)
    >>> quoting("<retrieval>an 1815 novel by</retrieval>", "<retrieval>an 1816 novel by Jane Austen</retrieval>")
    0.5
    """

    threshold: float = 0.85
    min_words: int = 3
    max_share: float = 0.3
    max_quoted_chars: int = 1_200

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold, "0.85 asks for 85 % of equal characters, 1 for verbatim quotes")
        check_share("max_share", self.max_share, "0.3 lets 30 % of the passages be quoted for free")
        for name in ("min_words", "max_quoted_chars"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise RewardError(f"{name} is {value!r}, but must be a whole number of at least 0.")

    def applies(self, sample: Sample) -> bool:
        return has_passages(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not self.applies(sample):
            return None
        judged = self.judged(sample)
        return 0.0 if judged is None else judged.mean * judged.factor

    def judged(self, sample: Sample) -> Grounding | None:
        """What became of each quote; `None` without a quote. The value is the mean times the factor."""
        spans = sample.care.spans
        if not spans:
            return None
        book = open_book(tuple(sample.context))
        evidence = folded_evidence(sample)
        found, lost = find_quotes(spans, book, self.threshold, evidence)
        telling: list[Quote] = []
        mute: list[Quote] = []
        for quote in found:
            says = says_something(quote.text, self.min_words) or quote.text in evidence
            (telling if says else mute).append(quote)
        quoted_chars = sum(len(quote.text) for quote in found) + sum(map(len, lost))
        return Grounding(_by_place(telling), mute, lost, quoted_chars, self._allowed_chars(book, evidence))

    def _allowed_chars(self, book: Book, evidence: Iterable[str]) -> float:
        base = min(self.max_quoted_chars, self.max_share * len(book.folded))
        labelled = sum(map(len, evidence))
        if labelled:
            return max(SLACK * labelled, min(ALWAYS_ALLOWED_CHARS, base))
        if base >= SLACK * LONGEST_SENTENCE_CHARS:  # then no sentence matters, and looking for them takes longest
            return base
        longest = min(book.longest_sentence, LONGEST_SENTENCE_CHARS)
        return max(base, SLACK * longest, min(ALWAYS_ALLOWED_CHARS, ALWAYS_ALLOWED_SENTENCES * longest))


def has_passages(sample: Sample) -> bool:
    """Whether the row has any text that could be quoted."""
    return any(passage.text and not passage.text.isspace() for passage in sample.context)


def folded_evidence(sample: Sample) -> tuple[str, ...]:
    """The labelled supporting texts of a row, folded, each once."""
    return tuple(dict.fromkeys(map(fold, sample.evidence)))


def check_share(name: str, value: float, example: str) -> None:
    """Raise `RewardError` unless the parameter is above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise RewardError(f"{name} is {value!r}, but must be a share above 0 and at most 1: {example}.")


def _by_place(quotes: Iterable[Quote]) -> list[list[Quote]]:
    """The quotes of each place together: those that overlap by half."""
    groups: list[list[Quote]] = []
    start = end = 0
    for quote in sorted(quotes, key=lambda quote: (quote.start, quote.end)):
        overlap = min(end, quote.end) - quote.start
        if groups and 2 * overlap >= min(end - start, quote.end - quote.start):
            groups[-1].append(quote)
            end = max(end, quote.end)
        else:
            groups.append([quote])
            start, end = quote.start, quote.end
    return groups
