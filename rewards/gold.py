"""The output that a row's own labels describe: what a perfect completion would look like.

If it does not earn the maximum, no completion can, and the row teaches nothing. Knows the two output formats and the
labels; knows no weights.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rewards.answers import temporal_answer
from rewards.errors import RowError
from rewards.quoted_answer import says_more
from rewards.quotes import locate
from rewards.sample import Passage, Sample
from rewards.temporal import temporal_consistency
from rewards.text import fold, says_something

_SENTENCE_END = re.compile(r"[.!?][\"')\]]{0,3}\s+")
_MIN_WORDS = 4  # a quote that says less by itself is continued with the next sentence
_LEAST_WORDS = 3  # a passage that says less is quoted only where there is nothing else
_MAX_CHARS = 200  # where no evidence is labelled, no more is quoted of a sentence without an end


def gold_completion(sample: Sample) -> str:
    """The row's own gold output, as text in the format of its task.

    CARE: a think block that quotes the labelled evidence (or, where nothing is labelled, the sentence that holds the
    answer), then the first gold. Memory-T1: JSON with the labelled sessions and the gold answer. Raises `RowError`
    without golds.

    >>> print(gold_completion(Sample(golds="Rome", evidence="Rome is the capital of Italy.")))
    <think>The context says: <retrieval>Rome is the capital of Italy.</retrieval></think> Answer: Rome
    """
    if not sample.golds:
        raise RowError(f"row {sample.id or '?'}: has no golds, so there is no gold output; give an accepted answer.")
    if sample.task == "memory_t1" or (not sample.task and sample.sessions):
        return _memory_gold(sample)
    quotes = sample.evidence or _supporting_quote(sample)
    spans = " ".join(f"<retrieval>{quote}</retrieval>" for quote in dict.fromkeys(quotes))
    return f"<think>The context says: {spans}</think> Answer: {sample.golds[0]}"


def _supporting_quote(sample: Sample) -> tuple[str, ...]:
    """The first sentence that holds a gold, else the first of a passage, that says something; nothing without a context."""
    quotes: list[str] = []
    for quote in _possible_quotes(sample):
        if _says(quote, _LEAST_WORDS, sample):
            return (quote,)
        quotes.append(quote)
    telling = [quote for quote in quotes if says_something(quote, _LEAST_WORDS)]
    return tuple((telling or quotes)[:1])


def _possible_quotes(sample: Sample) -> Iterator[str]:
    for gold in sample.golds:
        for passage in sample.context:
            found = locate(gold, [passage], threshold=1)  # word for word
            if found:
                yield _sentence(sample, passage, found.start, found.end)
    for passage in sample.context:
        yield _sentence(sample, passage, 0, 0)


def _says(text: str, min_words: int, sample: Sample) -> bool:
    """Whether a text says something, and something besides the answer."""
    return says_something(text, min_words) and says_more(fold(text), sample.golds)


def _sentence(sample: Sample, passage: Passage, at: int, until: int) -> str:
    """The sentence around a stretch of a passage, verbatim; more of the passage if it is short, less if it is long."""
    text = passage.text
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    first = bisect_right(starts, at) - 1
    sentence = next(
        (
            text[starts[first] : end].strip()
            for end in [*starts[first + 1 :], len(text)]
            if end >= until  # an abbreviation in the answer ends no sentence
            and (end - starts[first] > _MAX_CHARS or _says(text[starts[first] : end], _MIN_WORDS, sample))
        ),
        text.strip(),
    )
    return sentence if len(sentence) <= _MAX_CHARS else _window(text, at, until)


def _window(text: str, at: int, until: int) -> str:
    """Whole words around a stretch, verbatim."""
    start = max(0, at - _MAX_CHARS // 4)
    end = min(len(text), max(start + _MAX_CHARS, until))
    cut = text[start:end]
    if start and " " in text[start:at]:
        cut = cut[cut.index(" ") :]
    if end < len(text) and " " in text[max(until, start + 1) : end].strip():
        cut = cut[: cut.rindex(" ")]
    return cut.strip()


def _memory_gold(sample: Sample) -> str:
    selected: list[str] = list(sample.evidence)
    rate = temporal_consistency()
    if not selected and rate.applies(sample):  # nothing labelled: the session that fits the time range best
        selected = [max((s.id for s in sample.sessions), key=lambda name: rate(_with(sample, [name], "?")) or -1.0)]
    # Several golds are alternatives, except for letters and list items, which are one answer together.
    answers: list[str | list[str]] = [*sample.golds, list(sample.golds)]
    judge = temporal_answer()
    best = max(answers, key=lambda answer: judge(_with(sample, selected, answer)) or 0.0) if sample.kind else answers[0]
    return _output(selected, best)


def _with(sample: Sample, selected: Sequence[str], answer: str | list[str]) -> Sample:
    return sample.with_completion(_output(selected, answer))


def _output(selected: Sequence[str], answer: str | list[str]) -> str:
    return json.dumps({"selected_memory": list(selected), "answer": answer}, ensure_ascii=False)
