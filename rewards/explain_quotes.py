"""Where every quote of a completion and every labelled fact stands, with the words that differ and the reason in words.

Asks the same searches that the grounding parts ask, so that it cannot disagree with them. Knows no weight and no total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from rewards.contradiction import contradict, symbols
from rewards.grounding import folded_evidence, quotes_in_context
from rewards.parse_care import END_RETRIEVAL, RETRIEVAL, THINK
from rewards.quotes import (
    MAX_FOLDED,
    MAX_FUZZY_CHARS,
    MAX_QUOTES,
    MIN_FUZZY_CHARS,
    MIN_FUZZY_WORDS,
    Alignment,
    Book,
    Quote,
    alignment,
    find_quotes,
    open_book,
    passage_range,
    pieces,
    places,
)
from rewards.sample import Passage, Sample
from rewards.text import Word, fold, space, words

MAX_NEAREST = (
    8  # quotes of one completion whose nearest place is looked for: without a bound this is the slowest search
)
LEAST_ALIKE = 0.4  # below that, "nearest" says nothing

Kind = Literal["verbatim", "fuzzy", "missing"]


class Place(NamedTuple):
    """Index of a passage and character offsets in its text."""

    passage: int
    start: int
    end: int


class Change(NamedTuple):
    """Words that differ: character offsets in the quote and in the passage; either may be empty."""

    quote_start: int
    quote_end: int
    passage_start: int
    passage_end: int


@dataclass(frozen=True)
class Quoted:
    """One quote as written: where it stands in the completion, and where in the passages.

    `kind` is "verbatim", "fuzzy" or "missing"; of a missing quote `place`, `similarity` and `changes` are those of the
    nearest text, if any is near. `same_as` is the index of an earlier quote with the same text, which alone counts.
    """

    text: str
    start: int
    end: int
    kind: Kind
    similarity: float | None
    place: Place | None
    changes: tuple[Change, ...]
    reason: str
    same_as: int | None = None


@dataclass(frozen=True)
class Fact:
    """A labelled supporting text, and everywhere it stands in the passages."""

    text: str
    places: tuple[Place, ...]


def quotes_of(sample: Sample, threshold: float, part: quotes_in_context | None = None) -> tuple[Quoted, ...]:
    """Every quote of a completion in order, found as `find_quotes` finds it; `part` says what it makes of each.

    >>> row = Sample(context=["Emma is an 1815 novel."], completion="<think><retrieval>an 1815 novel</retrieval></think>")
    >>> [(quote.kind, quote.place, quote.reason) for quote in quotes_of(row, 0.85)]
    [('verbatim', Place(passage=0, start=8, end=21), 'verbatim in passage 1')]
    """
    spans = sample.care.spans[:MAX_FOLDED]
    if not spans:
        return ()
    book = open_book(tuple(sample.context))
    evidence = folded_evidence(sample)
    found = {quote.text: quote for quote in find_quotes(sample.care.spans, book, threshold, evidence)[0]}
    quoted: list[Quoted] = []
    first: dict[str, int] = {}
    searches_left = MAX_NEAREST
    for number, (span, (start, end)) in enumerate(zip(spans, _offsets(sample.completion, spans), strict=True)):
        folded = fold(span)
        if folded in first:
            earlier = quoted[first[folded]]
            told = f"says the same as quote {first[folded] + 1}, and counts once"
            quoted.append(replace(earlier, text=span, start=start, end=end, reason=told, same_as=first[folded]))
            continue
        first[folded] = number
        if folded in found:
            quoted.append(_found(span, start, end, found[folded], book, sample.context))
            continue
        near = None
        unread = len(first) > MAX_QUOTES and folded not in evidence
        if folded and not unread and searches_left:
            searches_left -= 1
            near = _nearest(span, folded, book)
        quoted.append(_missing(span, start, end, near, book, sample, threshold, unread))
    return _judged(quoted, sample, part) if part is not None else tuple(quoted)


def facts_of(sample: Sample) -> tuple[Fact, ...]:
    """The labelled facts of a row and where they stand, as `fact_coverage` finds them.

    >>> facts_of(Sample(context=["Ann met Bo. Bo left."], evidence=["Bo left."]))
    (Fact(text='Bo left.', places=(Place(passage=0, start=12, end=20),)),)
    """
    book = open_book(tuple(sample.context))
    facts = []
    for text in sample.evidence:
        folded = fold(text)
        starts = places(folded, book, whole_words=False) if folded else ()
        at = tuple(_place(start, start + len(folded), book, sample.context) for start in starts)
        facts.append(Fact(text, at))
    return tuple(facts)


def shortened(text: str, limit: int = 160) -> str:
    """The text on one line, with its middle left out where it is longer than `limit` characters."""
    text = space(text[: 4 * limit] + " … " + text[-4 * limit :] if len(text) > 8 * limit else text)
    return text if len(text) <= limit else f"{text[: limit // 2].rstrip()} … {text[-limit // 2 :].lstrip()}"


def _offsets(completion: str, spans: Sequence[str]) -> list[tuple[int, int]]:
    """Where each span stands in the completion: they come in order, each between its own pair of tags."""
    at = completion.find(THINK) + len(THINK)
    offsets = []
    for span in spans:
        start = completion.index(f"{RETRIEVAL}{span}{END_RETRIEVAL}", at) + len(RETRIEVAL)
        offsets.append((start, start + len(span)))
        at = start + len(span) + len(END_RETRIEVAL)
    return offsets


def _found(span: str, start: int, end: int, quote: Quote, book: Book, context: Sequence[Passage]) -> Quoted:
    place = _place(quote.start, quote.end, book, context)
    where = _where(place, context)
    if book.folded[quote.start : quote.end] == quote.text:
        return Quoted(span, start, end, "verbatim", 1.0, place, (), f"verbatim in {where}")
    changes = _changes(span, context, place)
    told = f"{quote.score:.0%} alike to {where}: {_told(span, changes, place, context)}"
    return Quoted(span, start, end, "fuzzy", quote.score, place, changes, told)


def _missing(
    span: str, start: int, end: int, near: Alignment | None, book: Book, sample: Sample, threshold: float, unread: bool
) -> Quoted:
    if not span.strip():
        return Quoted(span, start, end, "missing", None, None, (), "is empty")
    if unread:
        told = f"not looked for: only the first {MAX_QUOTES} distinct quotes are"
        return Quoted(span, start, end, "missing", None, None, (), told)
    told = "not in the passages" + _elsewhere(span, sample)
    if near is None:
        return Quoted(span, start, end, "missing", None, None, (), told)
    place = _place(near.quote.start, near.quote.end, book, sample.context)
    text = sample.context[place.passage].text[place.start : place.end]
    changes = _changes(span, sample.context, place)
    why = _why_not(span, near, threshold, changes, place, sample.context)
    told += f"; nearest: “{shortened(text)}” in {_where(place, sample.context)}, {near.quote.score:.0%} alike{why}"
    return Quoted(span, start, end, "missing", near.quote.score, place, changes, told)


def _why_not(
    span: str, near: Alignment, threshold: float, changes: Sequence[Change], place: Place, context: Sequence[Passage]
) -> str:
    """Why a quote that is near some text does not count as a quote of it."""
    if near.quote.score < threshold:
        return f", where {threshold:.0%} count" if threshold < 1 else ", where only verbatim quotes count"
    if len(near.quote.text) < MIN_FUZZY_CHARS or len(words(space(span))) < MIN_FUZZY_WORDS:
        differs = _told(span, changes, place, context)
        return f", but {differs}; a quote of fewer than {MIN_FUZZY_WORDS} words counts only where it is verbatim"
    if near.contradicts:
        text = context[place.passage].text
        telling = [
            change
            for change in changes
            if contradict(words(span[change[0] : change[1]]), words(text[change[2] : change[3]]))
        ]
        differs = _told(span, telling or changes, place, context)
        if near.other_symbols and not telling:
            ours, theirs = (" ".join(symbols(each)) or "no sign" for each in (span, text))
            differs = f"“{ours}” for “{theirs}”"
        return f", but what differs may turn a fact: {differs}"
    if len(near.quote.text) > MAX_FUZZY_CHARS:
        return f", but a quote of more than {MAX_FUZZY_CHARS:,} characters counts only where it is verbatim"
    return ", but not enough of the completion's quotes are compared by similarity to reach it"


def _nearest(span: str, folded: str, book: Book) -> Alignment | None:
    """The text most like the quote's first piece, with the words of the whole quote beside it."""
    if not book.folded or len(folded) > MAX_FUZZY_CHARS:
        return None
    offset, piece = pieces(folded)[0]
    found = fuzz.partial_ratio_alignment(piece, book.folded, score_cutoff=100 * LEAST_ALIKE)
    if found is None:
        return None
    first, last = book.bounds(book.passage_at((found.dest_start + found.dest_end) // 2))
    start = found.dest_start - found.src_start - offset
    window = max(start, first), min(start + len(folded), last)
    return alignment(words(space(span)), folded, book, *window)


def _changes(span: str, context: Sequence[Passage], place: Place) -> tuple[Change, ...]:
    """The words by which a quote and a place differ, neighbouring ones together."""
    ours, theirs = words(span), words(context[place.passage].text[place.start : place.end])
    steps = LCSseq.opcodes([word.key for word in ours], [word.key for word in theirs])
    changes = []
    for differ, run in groupby(steps, key=lambda step: step.tag != "equal"):
        if differ:
            stretch = list(run)
            here = _stretch(ours, stretch[0].src_start, stretch[-1].src_end, 0)
            there = _stretch(theirs, stretch[0].dest_start, stretch[-1].dest_end, place.start)
            changes.append(Change(*here, *there))
    return tuple(changes)


def _stretch(found: Sequence[Word], start: int, end: int, origin: int) -> tuple[int, int]:
    if start < end:
        return origin + found[start].start, origin + found[end - 1].end
    at = found[start - 1].end if start else (found[0].start if found else 0)
    return origin + at, origin + at


def _told(span: str, changes: Sequence[Change], place: Place, context: Sequence[Passage]) -> str:
    """The differing words, as `“1816” for “1815”`."""
    text = context[place.passage].text
    told = []
    for change in changes[:4]:
        ours, theirs = shortened(span[change[0] : change[1]], 60), shortened(text[change[2] : change[3]], 60)
        told.append(
            f"“{ours}” for “{theirs}”" if ours and theirs else f"“{ours}” added" if ours else f"“{theirs}” left out"
        )
    more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
    return (", ".join(told) + more) or "other punctuation"


def _elsewhere(span: str, sample: Sample) -> str:
    folded = fold(span)
    if folded in fold(sample.question):
        return ", but in the question, which is no evidence"
    for number, passage in enumerate(sample.context, 1):
        if passage.title and folded in fold(passage.title):
            return f", but in the title of passage {number}, which is no evidence"
    return ""


def _place(start: int, end: int, book: Book, context: Sequence[Passage]) -> Place:
    return Place(*passage_range(start, end, book, context))


def _where(place: Place, context: Sequence[Passage]) -> str:
    title = context[place.passage].title
    return f"passage {place.passage + 1}" + (f" ({shortened(title, 60)})" if title else "")


def _judged(quoted: list[Quoted], sample: Sample, part: quotes_in_context) -> tuple[Quoted, ...]:
    """The quotes with what the part makes of them besides finding them."""
    judged = part.judged(sample)
    if judged is None:
        return tuple(quoted)
    numbers = {fold(quote.text): i for i, quote in reversed(list(enumerate(quoted)))}
    for quote in judged.mute:
        at = numbers.get(quote.text)
        if at is not None:
            told = f"{quoted[at].reason}, but it says too little to count"
            quoted[at] = replace(quoted[at], reason=told)
    for group in judged.places:
        known = sorted(numbers[quote.text] for quote in group if quote.text in numbers)
        for at in known[1:]:
            told = f"{quoted[at].reason}; overlaps quote {known[0] + 1}, and they count as one"
            quoted[at] = replace(quoted[at], reason=told)
    return tuple(quoted)
