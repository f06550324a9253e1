"""Does the answer stand in what is quoted? Grounding that needs golds and no labelled evidence.

A true quote can be useless; one that holds the answer seldom is. Judges quotes as `quotes_in_context` does. Cannot tell
whether the quotes suffice: a fact that leads to the answer without naming it goes unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rewards.grounding import Grounding, folded_evidence, has_passages, quotes_in_context
from rewards.quotes import Book, open_book, places
from rewards.sample import Sample
from rewards.text import fold, says_something

_VERDICTS = ("yes", "true", "false")  # "no" says nothing anyway
LONGEST_NAME_WORDS = 6  # a longer gold is a sentence, which can be its own evidence


@dataclass(frozen=True)
class answer_in_quotes(quotes_in_context):
    """What `quotes_in_context` gives if a gold answer stands in a quote that counts, else 0, in [0, 1].

    Parameters and judgement of quotes are those of `quotes_in_context`, which it therefore never exceeds. A gold stands in
    a quote when it does so at word boundaries after white space and case folding, in the quote's own words and in the
    passage at the quote's place: a near-verbatim quote cannot bring the answer with it. The answer alone is no evidence: a
    quote has to say something besides, unless the gold is longer than six words and a sentence of its own.

    Applies to rows with a gold in their passages (where evidence is labelled: in the evidence). A computed answer
    stands nowhere, and yes, no, true, false or function words alone ("both") stand anywhere: such golds do not count.
    A gold that also stands in the question is judged like any other: the quote has to name it all the same.

    >>> row = Sample(golds="Rome", context=["Ada hired Leo. Leo visited Rome.", "Ada visited Oslo."])
    >>> rate = answer_in_quotes()
    >>> def quoting(*spans): return rate(row.with_completion(f"<think>{''.join(spans)}</think> Answer: Rome"))
    >>> quoting("<retrieval>Leo visited Rome.</retrieval>"), quoting("<retrieval>Ada visited Oslo.</retrieval>")
    (1.0, 0.0)
    >>> quoting("<retrieval>Rome</retrieval>"), rate(Sample(golds="yes", context=["Yes, Ada visited Oslo."]))
    (0.0, None)
    """

    needs: ClassVar[tuple[str, ...]] = ("golds",)

    def applies(self, sample: Sample) -> bool:
        # a row that lost its golds is an error, not one to leave out
        return bool(told_golds(sample)) or (has_passages(sample) and not sample.golds)

    def __call__(self, sample: Sample) -> float | None:
        if not self.applies(sample):
            return None
        judged = self.judged(sample)
        if judged is None or quoted_gold(sample, judged) is None:
            return 0.0
        return judged.mean * judged.factor


def told_golds(sample: Sample) -> tuple[str, ...]:
    """The golds, folded, that a quote can hold: they say something, and stand in the evidence or, if none is, the passages.

    >>> told_golds(Sample(golds=["4", "four", "both"], context=["Four bridges, both old."]))
    ('four',)
    """
    golds = [
        gold for gold in dict.fromkeys(map(fold, sample.golds)) if says_something(gold, 1) and gold not in _VERDICTS
    ]
    texts = [fold(text) for text in sample.evidence] or [open_book(tuple(sample.context)).folded]
    return tuple(gold for gold in golds if any(_stands_in(gold, text) for text in texts))


def quoted_gold(sample: Sample, judged: Grounding) -> str | None:
    """The first gold that stands in a quote that counts, folded."""
    book, evidence = open_book(tuple(sample.context)), folded_evidence(sample)
    texts = [
        (quote.text, book.folded[quote.start : quote.end])
        for quotes in judged.places
        for quote in quotes
        if quote.text in evidence or says_more(quote.text, sample.golds)
    ]
    return next((gold for gold in told_golds(sample) if any(_both(gold, *pair) for pair in texts)), None)


def says_more(quote: str, golds: Sequence[str]) -> bool:
    """Whether a folded quote says something besides each gold of up to six words that stands in it.

    >>> says_more("the eiffel tower", ["Eiffel Tower"]), says_more("it is the eiffel tower in paris", ["Eiffel Tower"])
    (False, True)
    """
    names = (gold for gold in map(fold, golds) if gold and len(gold.split()) <= LONGEST_NAME_WORDS)
    return all(gold not in quote or says_something(quote.replace(gold, " "), 1) for gold in names)


def _both(gold: str, quoted: str, told: str) -> bool:
    return _stands_in(gold, quoted) and _stands_in(gold, told)


def _stands_in(gold: str, text: str) -> bool:
    return next(places(gold, Book(text, text, (0,)), whole_words=True), None) is not None
