"""Hypothesis strategies for rows and outputs: well-formed, just missing the format, and hostile.

Imports hypothesis, so it is loaded only through `rewards.testing`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from rewards.gold import gold_completion
from rewards.sample import Sample

_WORDS = ("Ann", "Porto", "the", "river", "never", "42", "1815", "Émile", "naïve", "東京", "meets", "sea,", "B", "yes")
_NOISE = (
    "<think>", "</think>", "<retrieval>", "</retrieval>", "Answer:", "<|im_end|>", "</s>", "```json", "```", "{", "}", "[", "]",
    '"', "\\", ",", ":", "selected_memory", "answer", "session_1", "NaN", "1e999", "\x00", "\ud800", "\u202e", " ", "\n", "a", "7",
)  # fmt: skip
_KINDS = ("choice", "time", "duration", "order", "text")
_GOLDS = {"choice": ["B", "A  C"], "time": ["2024-03-04", "2024-03-04T10:30:00"], "duration": ["3 days", "1 year 2 months"],
          "order": ["(2)(1)(3)", "3 1 2"], "text": ["Porto", "a boat"]}  # fmt: skip


def samples(task: str) -> SearchStrategy[Sample]:
    """Rows of a task, each with an output."""
    rows = {"care": _care_rows, "memory_t1": _memory_rows}
    if task not in rows:
        raise ValueError(f"task is {task!r}, but must be one of {', '.join(rows)}.")
    return rows[task]()


def completions(task: str) -> SearchStrategy[str]:
    """Outputs in the task's format, outputs that just miss it, and hostile text."""
    formed = {"care": _care_outputs, "memory_t1": _memory_outputs}
    if task not in formed:
        raise ValueError(f"task is {task!r}, but must be one of {', '.join(formed)}.")
    return st.one_of(formed[task](), _near_misses(formed[task]()), _hostile())


def _sentences(max_words: int = 7) -> SearchStrategy[str]:
    return st.lists(st.sampled_from(_WORDS), min_size=1, max_size=max_words).map(" ".join)


@st.composite
def _care_outputs(draw: DrawFn) -> str:
    spans = draw(st.lists(_sentences(), min_size=1, max_size=3))
    quoted = " ".join(f"<retrieval>{span}</retrieval>" for span in spans)
    return f"<think>{draw(_sentences())} {quoted}</think> Answer: {draw(_sentences(3))}"


@st.composite
def _memory_outputs(draw: DrawFn) -> str:
    selected = draw(st.lists(st.integers(1, 6).map("session_{}".format), max_size=4))
    answer = draw(st.one_of(_sentences(3), st.sampled_from([gold for golds in _GOLDS.values() for gold in golds])))
    output = json.dumps({"selected_memory": selected, "answer": answer}, ensure_ascii=False)
    return f"```json\n{output}\n```" if draw(st.booleans()) else output


@st.composite
def _near_misses(draw: DrawFn, outputs: SearchStrategy[str]) -> str:
    """A well-formed output with a piece taken out, doubled, or replaced by noise."""
    text = draw(outputs)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    middle = draw(st.sampled_from(["", text[start:end] * 2, *_NOISE]))
    return text[:start] + middle + text[end:]


def _hostile() -> SearchStrategy[str]:
    noise = st.lists(st.sampled_from(_NOISE), max_size=30).map("".join)
    repeated = st.builds(lambda piece, times: piece * times, st.sampled_from(_NOISE), st.integers(1, 3000))
    return st.one_of(st.text(max_size=200), noise, repeated, st.tuples(repeated, noise).map("".join))


def _outputs(draw: DrawFn, row: Sample) -> Sample:
    gold = st.just(gold_completion(row))
    return row.with_completion(draw(st.one_of(gold, _near_misses(gold), completions(row.task))))


def _rows(build: Callable[[DrawFn], dict[str, Any]]) -> SearchStrategy[Sample]:
    @st.composite
    def strategy(draw: DrawFn) -> Sample:
        return _outputs(draw, Sample(id="drawn", source="drawn", question=draw(_sentences()), **build(draw)))

    return strategy()


def _care_rows() -> SearchStrategy[Sample]:
    def build(draw: DrawFn) -> dict[str, Any]:
        passages = draw(st.lists(st.lists(_sentences(), min_size=1, max_size=3), min_size=1, max_size=3))
        sentences = [sentence + "." for passage in passages for sentence in passage]
        return {
            "task": "care",
            "kind": "text",
            "context": [" ".join(sentence + "." for sentence in passage) for passage in passages],
            "golds": draw(st.lists(_sentences(3), min_size=1, max_size=3)),
            "evidence": draw(st.lists(st.sampled_from(sentences), max_size=3, unique=True)),
        }

    return _rows(build)


def _memory_rows() -> SearchStrategy[Sample]:
    days = st.dates(date(2024, 1, 1), date(2024, 12, 31)).map(date.isoformat)
    maybe = st.one_of(st.none(), days)
    events = st.builds(
        lambda summary, start, end: {"summary": summary, "start": start, "end": end}, _sentences(), maybe, maybe
    )
    utterances = st.fixed_dictionaries(
        {
            "speaker": st.sampled_from(["Ann", "Ben"]),
            "text": _sentences(),
            "time": maybe,
            "events": st.lists(events, max_size=1),
        }
    )

    def build(draw: DrawFn) -> dict[str, Any]:
        count = draw(st.integers(1, 4))
        names = [f"session_{i}" for i in range(1, count + 1)]
        sessions = [
            {"id": name, "date": draw(days), "utterances": draw(st.lists(utterances, max_size=2))} for name in names
        ]
        kind = draw(st.sampled_from(_KINDS))
        bounds = sorted(draw(st.lists(days, min_size=2, max_size=2)))
        return {
            "task": "memory_t1",
            "kind": kind,
            "golds": draw(st.sampled_from(_GOLDS[kind])),
            "evidence": draw(st.lists(st.sampled_from(names), max_size=3, unique=True)),
            "sessions": sessions,
            "time_range": draw(
                st.sampled_from([None, (None, None), (bounds[0], None), (None, bounds[1]), (bounds[0], bounds[1])])
            ),
            "asked_at": draw(maybe),
        }

    return _rows(build)
