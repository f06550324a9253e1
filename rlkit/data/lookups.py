"""Questions that anybody could ask about a text who only looks things up in it: what a base model can practise on.

A sentence is asked for by some of its words, a fact of the made-up world by its question, a session by what is said in
it, a day by what happened on it. The answer stands in the text, so no label is needed. Knows records; knows no prompt
and no model.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rlkit.data.facts import OTHERWISE, RELATIONS, question

T = TypeVar("T")
SHORTEST_WORDS, LONGEST_WORDS = 5, 60  # of a sentence that is asked for
CUE_WORDS = range(3, 7)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,3}\s+")
_ASKED = {**{name: name for name in RELATIONS}, **{said: name for name, said in OTHERWISE.items()}}

MAX_LOOKUPS = 64
TRIES = 4  # sentences looked at for each question, so that a book of a million sentences costs no more than a page

Lookup = tuple[str, str]  # question, answer
Found = tuple[
    dict[str, str], dict[str, str]
]  # the same by question: what the labels or the made-up world tell, the rest


def lookups(record: Mapping[str, Any], count: int, rng: random.Random) -> list[Lookup]:
    """At most `count` different questions about a record's passages or sessions, each with its one answer.

    Where there are facts and days to ask for, these are at least half of them.

    >>> row = {"context": [{"title": "", "text": "Ada visited Fenwick. Leo hired Ada."}]}
    >>> sorted(lookups(row, 2, random.Random(0)))
    [('Which person has Leo hired?', 'Leo hired Ada.'), ('Which place has Ada visited?', 'Ada visited Fenwick.')]
    >>> two_answers = "Ada visited Fenwick. Supposedly Ada visited Lumara. Ada toured Ardmoor."
    >>> lookups({"context": [{"title": "", "text": two_answers}]}, 2, random.Random(0))
    []
    """
    facts, others = (
        _of_sessions(record["sessions"], count, rng) if record.get("sessions") else _of_passages(record, count, rng)
    )
    first = list(facts.items())[: max(count // 2, count - len(others))]
    found = [*first, *list(others.items())[: count - len(first)]]
    return rng.sample(found, len(found))


def sentences(text: str) -> list[str]:
    """The sentences of a passage, verbatim.

    >>> sentences('Emma is a novel. It is by "Jane Austen." It appeared in 1815.')
    ['Emma is a novel.', 'It is by "Jane Austen."', 'It appeared in 1815.']
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    parts = (text[start:end].strip() for start, end in zip([0, *ends], [*ends, len(text)], strict=True))
    return [part for part in parts if part]


def _of_passages(record: Mapping[str, Any], count: int, rng: random.Random) -> Found:
    texts = [sentence for passage in record.get("context") or () for sentence in sentences(passage["text"])]
    book = "\n".join(texts)
    asked = {sentence: _fact_question(sentence) for sentence in texts}
    told = Counter(filter(None, map(asked.__getitem__, texts)))
    facts = {question: sentence for sentence, question in asked.items() if told[question] == 1}
    others = {}
    for sentence in _some([text for text in texts if not asked[text]], count, rng):
        if cue := _cue(sentence, book, rng):
            others[f"Which sentence has the words: {cue}"] = sentence
    return dict(_some(list(facts.items()), count, rng)), others


def _fact_question(sentence: str) -> str:
    """The question that a fact of the made-up world answers, "" for any other sentence."""
    words = sentence.rstrip(".").split(" ", 3)
    return question(words[0], _ASKED[words[1]]) if len(words) == 3 and words[1] in _ASKED else ""


def _of_sessions(sessions: Sequence[Mapping[str, Any]], count: int, rng: random.Random) -> Found:
    said = [
        (session["id"], {**one, "text": one.get("text") or ""})
        for session in sessions
        for one in session.get("utterances") or ()
    ]
    book = "\n".join(one["text"] for _, one in said)
    days: dict[str, set[str]] = {}
    for event in (event for _, one in said for event in one.get("events") or ()):
        days.setdefault(event.get("summary") or "", set()).add((event.get("start") or "")[:10])
    days = {summary: found for summary, found in days.items() if summary and len(found) == 1 and "" not in found}
    facts = {f"On which day: {summary}?": next(iter(days[summary])) for summary in _some(list(days), count, rng)}
    others = {}
    for name, one in _some(said, count, rng):
        cue = _cue(one["text"], book, rng) or (one["text"] if book.count(one["text"]) == 1 else "")
        if cue:
            others[f"Which session has the words: {cue}"] = name
    for session in _some([session for session in sessions if session.get("date")], 1, rng):
        others[f"On which day was {session['id']}?"] = session["date"][:10]
    return facts, dict(rng.sample(list(others.items()), len(others)))


def _some(items: Sequence[T], count: int, rng: random.Random) -> list[T]:
    return rng.sample(items, min(len(items), TRIES * count))


def _cue(sentence: str, book: str, rng: random.Random) -> str:
    """Some neighbouring words of the sentence that stand nowhere else in the book; "" where there are none."""
    words = sentence.split(" ")
    if not SHORTEST_WORDS <= len(words) <= LONGEST_WORDS:
        return ""
    length = rng.choice(CUE_WORDS[: len(words) - CUE_WORDS.start])
    start = rng.randrange(len(words) - length + 1)
    cue = " ".join(words[start : start + length])
    return cue if book.count(cue) == 1 else ""
