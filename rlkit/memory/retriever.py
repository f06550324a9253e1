"""BM25 over the sessions of a memory or over texts: indexed once, kept while questions about the same ones come, ranked
in part.

Knows words and sessions; knows no question's time range, no label and no budget. Both backends give the same scores.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from rewards.dates import read_date

MEMORIES_KEPT = 32
FAST_FROM_SESSIONS = (
    2000  # from here bm25s, if it is installed: it builds in twice the time and answers 100 times faster
)
BACKENDS = ("rank_bm25", "bm25s")

_WORD = re.compile(r"[^\W_]+")
# Written out, because the names in `calendar` follow the locale of the process.
_MONTH_NAMES = "january february march april may june july august september october november december"
_SUFFIXES = ("ing", "ied", "ies", "ed", "es", "s")
# BM25+ and not Okapi: in a memory of few sessions most words stand in most of them, where Okapi's idf turns negative,
# so that a session would rank lower for holding the word that is asked for.
_K1, _B, _DELTA = 1.5, 0.75, 1.0


Documents = Sequence[Mapping[str, Any]] | Sequence[str]  # the sessions of a memory, or texts


class Ranked(NamedTuple):
    """The position of a session in its memory, or of a text among the others, and its BM25 score for the question."""

    position: int
    score: float


def rank(documents: Documents, question: str, among: Sequence[int] | None = None) -> list[Ranked]:
    """The documents at the positions `among` (None = all) by BM25 for the question, best first, ties in their order.

    Documents are the sessions of a memory, or texts such as passages. Word statistics are those of all documents. The index is kept for the next question: the last 32 memories are
    known by what their sessions say, so that a memory that has changed is indexed again.

    >>> said = ["I adopted a dog.", "The weather is fine.", "My dog barks; good dog!"]
    >>> memory = [{"id": str(i), "utterances": [{"speaker": "Ann", "text": text}]} for i, text in enumerate(said)]
    >>> [session.position for session in rank(memory, "What about Ann's dogs?")]
    [2, 0, 1]
    >>> [session.position for session in rank(memory, "What about Ann's dogs?", among=[0, 1])]
    [0, 1]
    >>> [text.position for text in rank(["Emma is a novel.", "Bath is a city."], "Which city?")]
    [1, 0]
    """
    return kept_index(documents).rank(question, among)


def kept_index(documents: Documents) -> Index:
    """The index of these documents: one that is kept, or a new one."""
    said = _said(documents)
    for place, (content, index) in enumerate(_KEPT):
        if content == said:  # texts that are the same objects compare at once, so this costs less than hashing them
            if place:
                _KEPT.insert(0, _KEPT.pop(place))
            return index
    index = Index(documents)
    _KEPT.insert(0, (said, index))
    del _KEPT[MEMORIES_KEPT:]
    return index


def words(text: str) -> list[str]:
    """Lower-case words and numbers without punctuation and without English endings.

    >>> words("Ann's dogs adopted on 7 May, 2023!")
    ['ann', 's', 'dog', 'adopt', 'on', '7', 'may', '2023']
    """
    return [_stem(word) for word in _WORD.findall(text.casefold())]


class Index:
    """BM25+ over sessions or texts; `backend` None chooses by their number.

    A session's words are its speakers', what they say, and its date written out, so that "in May 2023" finds it.
    """

    def __init__(self, documents: Documents, backend: str | None = None) -> None:
        if backend is None:
            fast = len(documents) >= FAST_FROM_SESSIONS and importlib.util.find_spec("bm25s") is not None
            backend = BACKENDS[fast]
        self.backend = backend
        texts = [words(item) if isinstance(item, str) else _session_words(item) for item in documents]
        self.size = len(texts)
        self._vocabulary = frozenset().union(*texts)
        self._engine = _ENGINES[backend](texts) if self._vocabulary else None

    def rank(self, question: str, among: Sequence[int] | None = None) -> list[Ranked]:
        """As `rank`, for the documents of this index."""
        positions = range(self.size) if among is None else among
        asked = [word for word in words(question) if word in self._vocabulary]
        if self._engine is None or not asked or not positions:
            return [Ranked(position, 0.0) for position in positions]
        import numpy as np

        scores, places = np.asarray(self._engine(asked, among)), np.asarray(positions)
        order = np.lexsort((places, -scores))
        return list(map(Ranked._make, zip(places[order].tolist(), scores[order].tolist(), strict=True)))


def _rank_bm25(texts: list[list[str]]) -> Any:
    from rank_bm25 import BM25Plus

    model = BM25Plus(texts, k1=_K1, b=_B, delta=_DELTA)

    def scores(asked: list[str], among: Sequence[int] | None) -> Any:
        return model.get_scores(asked) if among is None else model.get_batch_scores(asked, list(among))

    return scores


def _bm25s(texts: list[list[str]]) -> Any:
    from bm25s import BM25

    model = BM25(method="bm25+", k1=_K1, b=_B, delta=_DELTA, dtype="float64")
    model.index(texts, show_progress=False)

    def scores(asked: list[str], among: Sequence[int] | None) -> Any:
        every = model.get_scores(asked)
        return every if among is None else every[list(among)]

    return scores


_ENGINES = dict(zip(BACKENDS, (_rank_bm25, _bm25s), strict=True))
_TEXT, _SPEAKER = itemgetter("text"), itemgetter("speaker")
_KEPT: list[tuple[list[Any], Index]] = []


def _said(documents: Documents) -> list[Any]:
    """All that the index depends on, in one flat list."""
    said: list[Any] = []
    for session in documents:
        if isinstance(session, str):
            said.append(session)
            continue
        utterances = session.get("utterances") or ()
        said += session.get("date"), len(utterances)
        said += map(_TEXT, utterances)
        said += map(_SPEAKER, utterances)
    return said


def _session_words(session: Mapping[str, Any]) -> list[str]:
    found = _date_words(session["date"]) if session.get("date") else []
    for utterance in session.get("utterances") or ():
        found += words(f"{utterance.get('speaker') or ''} {utterance.get('text') or ''}")
    return found


def _date_words(date: str) -> list[str]:
    fields = read_date(date)
    if fields is None:
        return words(date)
    year, month, day = (*fields, None, None)[:3]
    written = [str(year), _MONTH_NAMES.split()[month - 1] if month else "", str(day or "")]
    return words(" ".join(written))


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) >= len(suffix) + 3:
            return word[: -len(suffix)]
    return word
