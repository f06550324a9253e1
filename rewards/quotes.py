"""Where a quote stands in the passages of a row: word for word, or nearly so.

Knows passages and text. Refuses to know the question, the prompt and the titles: none of them can be quoted. Also knows
no tags and no reward.

Time is linear in the passages for each quote, and one completion cannot make it look for arbitrarily many: see
`MAX_QUOTES`, `MAX_PIECES` and `MAX_FUZZY_CHARS`. rapidfuzz alone is quadratic in long quotes, so they are looked for by
their pieces.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, islice, pairwise
from typing import Literal, NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, LCSseq

from rewards.contradiction import contradict, symbols
from rewards.sample import Passage
from rewards.text import Word, fold_case, space, words

MAX_QUOTES = 64  # distinct quotes of one completion that are looked up, besides labelled evidence
MAX_FOLDED = 1_000  # distinct quotes that are compared with labelled evidence; further ones are not found
MAX_PIECES = 16  # pieces of one completion that are looked up by similarity
MAX_PIECES_A_QUOTE = 8
PIECE_CHARS = 160  # about twenty words; rapidfuzz slows down fast beyond
MIN_FUZZY_CHARS = 16  # a shorter quote counts only where it is verbatim: one other word makes it another text
MIN_FUZZY_WORDS = 5  # nor of fewer words: "Leo visited Rome." is close to "Leo painted Rome.", and another fact
MAX_FUZZY_CHARS = 4_000  # so does a longer one
MAX_PLACES = 64  # places of one text that are looked at
_BETWEEN_PASSAGES = "\n"  # never in folded text, so no match reaches from one passage into the next
_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,3} |[。！？\n]")


class Match(NamedTuple):
    """Where a quote stands: index of the passage, character offsets in its original text, similarity, kind."""

    passage: int
    start: int
    end: int
    score: float
    kind: Literal["verbatim", "fuzzy"]


class Quote(NamedTuple):
    """A distinct quote of a completion, folded, where it stands in the folded book, and its similarity to that place."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Book:
    """All passages of a row as one text, so that one search goes through them all.

    `spaced` has its white space folded, `folded` also its case; offsets are the same in both. `starts` holds the offset
    of each passage.
    """

    spaced: str
    folded: str
    starts: tuple[int, ...]

    @cached_property
    def longest_sentence(self) -> int:
        """Length of the longest sentence, in characters."""
        ends = [0, *(match.end() for match in _SENTENCE_END.finditer(self.spaced)), len(self.spaced)]
        return max(end - start for start, end in pairwise(ends))

    def passage_at(self, offset: int) -> int:
        return bisect_right(self.starts, max(offset, 0)) - 1

    def bounds(self, passage: int) -> tuple[int, int]:
        following = self.starts[passage + 1] - 1 if passage + 1 < len(self.starts) else len(self.folded)
        return self.starts[passage], following


@lru_cache(maxsize=32)
def open_book(passages: tuple[Passage, ...]) -> Book:
    """The passages made ready for search, once for all rollouts of a row."""
    texts = [space(passage.text) for passage in passages]
    starts = tuple(accumulate((len(text) + 1 for text in texts[:-1]), initial=0))
    return Book(_BETWEEN_PASSAGES.join(texts), _BETWEEN_PASSAGES.join(map(fold_case, texts)), starts)


def locate(quote: str, passages: Sequence[Passage], threshold: float = 0.85) -> Match | None:
    """The place of a quote in the passages, `None` where it stands in none of them.

    Verbatim: equal after white space and case folding, at word boundaries. Fuzzy: rapidfuzz aligns it at `threshold` or
    above and what differs turns no fact (`rewards.contradiction`); its score is the similarity.

    >>> locate("AN 1815   novel", [Passage("Emma is an 1815 novel.")])
    Match(passage=0, start=8, end=21, score=1.0, kind='verbatim')
    >>> locate("Emma is an 1816 novel.", [Passage("Emma is an 1815 novel.")]) is None
    True
    """
    book = open_book(tuple(passages))
    quotes, _ = find_quotes([quote], book, threshold)
    if not quotes:
        return None
    found = quotes[0]
    passage, start, end = passage_range(found.start, found.end, book, passages)
    verbatim = book.folded[found.start : found.end] == found.text
    return Match(passage, start, end, found.score, "verbatim" if verbatim else "fuzzy")


def passage_range(start: int, end: int, book: Book, passages: Sequence[Passage]) -> tuple[int, int, int]:
    """Index of the passage and character offsets in its original text, from offsets in the folded book.

    >>> passages = (Passage("One."), Passage("Emma  is a novel."))
    >>> passage_range(5, 12, open_book(passages), passages)
    (1, 0, 8)
    """
    passage = book.passage_at(start)
    origin = book.starts[passage]
    return passage, *_original(passages[passage].text, start - origin, end - origin)


def find_quotes(
    spans: Iterable[str], book: Book, threshold: float, evidence: Iterable[str] = ()
) -> tuple[list[Quote], list[str]]:
    """The distinct spans that stand in the book, and the distinct ones that do not.

    Labelled `evidence` (folded) needs no word boundary around it.

    >>> book = open_book((Passage("In all, 181 people died."),))
    >>> find_quotes(["81 people died", "181 people died", "181 PEOPLE died"], book, 0.85)
    ([Quote(text='181 people died', start=8, end=23, score=1.0)], ['81 people died'])
    """
    distinct: dict[str, str] = {}
    lost: list[str] = []
    for span in dict.fromkeys(spans):
        if len(distinct) < MAX_FOLDED:
            spaced = space(span)
            distinct.setdefault(fold_case(spaced), spaced)
        else:
            lost.append(span)
    labelled = frozenset(evidence)
    pieces_left = MAX_PIECES
    found: list[Quote] = []
    for i, (folded, spaced) in enumerate(distinct.items()):
        quote: Quote | None = None
        if folded and (i < MAX_QUOTES or folded in labelled):
            start = next(places(folded, book, whole_words=folded not in labelled), None)
            if start is not None:
                quote = Quote(folded, start, start + len(folded), 1.0)
            elif threshold < 1 and MIN_FUZZY_CHARS <= len(folded) <= MAX_FUZZY_CHARS:
                for offset, piece in islice(pieces(folded), pieces_left):
                    pieces_left -= 1
                    quote = _align(spaced, folded, offset, piece, book, threshold)
                    if quote is not None:
                        break
        if quote is None:
            lost.append(folded)
        else:
            found.append(quote)
    return found, lost


def places(folded: str, book: Book, *, whole_words: bool) -> Iterator[int]:
    """Offsets in the book at which a folded text stands, at word boundaries where asked for; at most `MAX_PLACES`."""
    start = book.folded.find(folded)
    for _ in range(MAX_PLACES):
        if start < 0:
            return
        end = start + len(folded)
        if not whole_words or not (_splits_word(book.folded, start) or _splits_word(book.folded, end)):
            yield start
        start = book.folded.find(folded, start + 1)


def _splits_word(text: str, at: int) -> bool:
    """Whether an offset lies inside a word or number: "81" is no quote of "181", "815" none of "1,815", "can" of "can't"."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if left.isalnum() and right.isalnum():
        return not (_stands_alone(left) or _stands_alone(right))
    if right in ".,":
        return left.isdigit() and text[at + 1 : at + 2].isdigit()
    if left in ".,":
        return right.isdigit() and text[at - 2 : at - 1].isdigit()
    if right in "'’":
        return left.isalpha() and text[at + 1 : at + 2] == "t"
    return left in "'’" and right == "t" and text[at - 2 : at - 1].isalpha()


def _stands_alone(char: str) -> bool:
    """Whether the character's script is written without blanks, so that it is a word by itself."""
    return "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff"


def pieces(folded: str) -> list[tuple[int, str]]:
    """Up to eight equal pieces and their offsets. A similar quote has a piece at least as similar as the whole."""
    count = -(-len(folded) // PIECE_CHARS)
    size = -(-len(folded) // count)
    starts = range(0, len(folded), size)
    chosen = (
        starts if count <= MAX_PIECES_A_QUOTE else [starts[i * len(starts) // MAX_PIECES_A_QUOTE] for i in range(8)]
    )
    return [(start, folded[start : start + size]) for start in chosen]


def _align(spaced: str, folded: str, offset: int, piece: str, book: Book, threshold: float) -> Quote | None:
    found = fuzz.partial_ratio_alignment(piece, book.folded, score_cutoff=100 * threshold)
    if found is None:
        return None
    first, last = book.bounds(book.passage_at((found.dest_start + found.dest_end) // 2))
    start = found.dest_start - found.src_start - offset
    end = start + len(folded)
    # The aligned window has the quote's length; a quote that leaves words out reaches further on either side.
    margin = int((1 - threshold) * len(folded)) + 1
    ours = words(spaced)
    if len(ours) < MIN_FUZZY_WORDS:
        return None
    windows = ((start, end), (start - margin, end + margin))
    near = [_compare(ours, folded, book, max(lo, first), min(hi, last), threshold) for lo, hi in windows]
    return max((quote for quote in near if quote is not None), key=lambda quote: quote.score, default=None)


def _compare(ours: list[Word], folded: str, book: Book, start: int, end: int, threshold: float) -> Quote | None:
    """The quote at the words of a window that it aligns to, if they are similar and agree in what they assert."""
    near = alignment(ours, folded, book, start, end)
    if near is None or near.quote.score < threshold or near.contradicts:
        return None
    return near.quote


class Alignment(NamedTuple):
    """A quote at the place that it is compared with, the words by which the two differ, and whether symbols do."""

    quote: Quote
    ours: list[Word]
    theirs: list[Word]
    other_symbols: bool

    @property
    def contradicts(self) -> bool:
        return self.other_symbols or contradict(self.ours, self.theirs)


def alignment(ours: list[Word], folded: str, book: Book, start: int, end: int) -> Alignment | None:
    """The quote at the words of a window that it shares most with; `None` without a shared word."""
    start, end = _to_words(book.folded, start, end)
    theirs = words(book.spaced[start:end]) if start < end else []
    if not ours or not theirs:
        return None
    steps = LCSseq.opcodes([word.key for word in ours], [word.key for word in theirs])
    equal = [step for step in steps if step.tag == "equal"]
    if not equal:
        return None
    # Words around the aligned ones are not quoted, but a changed first or last word stands against its counterpart.
    first, last = equal[0], equal[-1]
    from_char = theirs[first.dest_start].start - ours[first.src_start].start + ours[0].start
    to_char = theirs[last.dest_end - 1].end + ours[-1].end - ours[last.src_end - 1].end
    low = max(0, first.dest_start - first.src_start)
    high = min(len(theirs), last.dest_end + len(ours) - last.src_end)
    while low and theirs[low - 1].start >= from_char:
        low -= 1
    while high < len(theirs) and theirs[high].end <= to_char:
        high += 1
    lo, hi = start + theirs[low].start, start + theirs[high - 1].end
    # What stands around the quote's words, such as quotation marks, is compared with its counterpart too.
    around = slice(max(start, lo - ours[0].start), min(end, hi + len(folded) - ours[-1].end))
    similarity = Indel.normalized_similarity(folded, book.folded[around])
    changed = [step for step in steps if step.tag != "equal"]
    our_changes = [word for step in changed for word in ours[step.src_start : step.src_end]]
    their_changes = [word for step in changed for word in theirs[max(step.dest_start, low) : min(step.dest_end, high)]]
    other_symbols = symbols(folded) != symbols(book.folded[around])
    return Alignment(Quote(folded, lo, hi, similarity), our_changes, their_changes, other_symbols)


def _to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The window widened to whole words, by at most forty characters a side."""
    for _ in range(40):
        start -= _splits_word(text, start)
        end += _splits_word(text, end)
    return start, end


def _original(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets in a text from offsets in `space(text)`; both fall inside words."""
    spaced_at, first, last = 0, 0, len(text)
    for match in re.finditer(r"\S+", text):
        length = match.end() - match.start()
        if spaced_at <= start < spaced_at + length:
            first = match.start() + start - spaced_at
        if spaced_at < end <= spaced_at + length:
            last = match.start() + end - spaced_at
            break
        spaced_at += length + 1
    return first, last
