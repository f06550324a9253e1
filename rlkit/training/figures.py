"""What one batch of completions shows, in a few numbers: the `watch/...` figures of a run.

Pure functions over samples and scores. Knows no trainer, no history and no threshold.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rewards import Sample, Score, Weighted, exact_match, for_task, temporal_answer, weighted
from rewards.config import from_config
from rewards.errors import RowError
from rewards.sample import Passage

MAX_QUOTES = 32  # of one completion, so that 10,000 quotes of hostile text do not travel between processes
MAX_TEXT_CHARACTERS = 2000
_EQUAL = 1e-6


@dataclass(frozen=True)
class Seen:
    """What is kept of one completion: small enough to be gathered from all processes at every step.

    `shortfall` is what it earned less than its row allows; `correct` and `evidence_share` are None where they cannot
    be said; `quotes` and `context` are digests.
    """

    id: str
    source: str
    completion: str
    total: float | None
    shortfall: float | None
    correct: float | None
    well_formed: bool
    words: int
    evidence_share: float | None
    quotes: tuple[str, ...]
    context: str | None


def measure_of(section: Mapping[str, Any] | None) -> Weighted:
    """What says how right a completion is: the part that `correct:` names, else the strict one of each task."""
    if section is not None:
        return from_config({"correct": {**section, "weight": 1.0}}, path="alarms")
    care, memory = for_task("care", exact_match()), for_task("memory_t1", temporal_answer())
    return weighted(care=(1.0, care), memory_t1=(1.0, memory))


def correctness(measure: Weighted, sample: Sample) -> float | None:
    """How right a completion is, None for a row that cannot say; an output that cannot be read is wrong.

    >>> correctness(measure_of(None), Sample(task="care", golds="Rome", completion="<think></think> Answer: Rome"))
    1.0
    >>> correctness(measure_of(None), Sample(task="memory_t1", kind="choice", golds="B", completion="B"))
    0.0
    """
    try:
        score = measure(sample)
    except RowError:  # a row without a gold answer
        return None
    if score.total is None:
        return 0.0 if score.maximum else None
    return score.total


def seen(sample: Sample, score: Score, correct: float | None) -> Seen:
    """What is kept of a sample and what it earned."""
    if sample.task == "memory_t1":
        output = sample.memory
        well_formed, selected = output.ok, {each.id for each in sample.sessions}.intersection(output.selected)
        share = len(selected) / len(sample.sessions) if sample.sessions else None
        quotes: tuple[str, ...] = ()  # ids are names within one memory: `session_1` means another one in each
        context = None
    else:
        spans = {" ".join(span.split()).casefold() for span in sample.care.spans} - {""}
        shown = sum(len(passage.text) for passage in sample.context)
        well_formed, share = not sample.care.problems, sum(map(len, spans)) / shown if shown else None
        quotes = tuple(sorted(map(_digest, spans)))[:MAX_QUOTES]
        context = _context_digest(tuple(sample.context)) if sample.context else None
    return Seen(
        id=sample.id,
        source=sample.source,
        completion=sample.completion[:MAX_TEXT_CHARACTERS],
        total=score.total,
        shortfall=None if score.total is None else score.maximum - score.total,
        correct=correct,
        well_formed=well_formed,
        words=len(sample.completion.split()),
        evidence_share=share,
        quotes=quotes,
        context=context,
    )


def figures(batch: Sequence[Seen], generations: int) -> dict[str, float]:
    """The figures of one batch, groups of `generations` completions one after the other; what cannot be said is absent."""
    values: dict[str, list[float | None]] = {
        "correct": [each.correct for each in batch],
        "well_formed": [float(each.well_formed) for each in batch],
        "words": [float(each.words) for each in batch],
        "evidence_share": [each.evidence_share for each in batch],
        "shortfall": [each.shortfall for each in batch],
        "repeated_quote": [top_quote(batch)[1]],
    }
    if generations > 1:
        groups = [batch[start : start + generations] for start in range(0, len(batch), generations)]
        spreads = [spread for group in groups if (spread := _spread(group)) is not None]
        values["group_spread"] = [*spreads]
        values["equal_groups"] = [float(spread <= _EQUAL) for spread in spreads]
    found = {name: [value for value in column if value is not None] for name, column in values.items()}
    return {f"watch/{name}": statistics.fmean(column) for name, column in found.items() if column}


def top_quote(batch: Sequence[Seen]) -> tuple[str | None, float | None]:
    """The quote that stands in most contexts' completions, and its share of the other contexts.

    0 = in its own context only, 1 = in all; None where there is but one context.
    """
    contexts = {each.context for each in batch if each.context is not None}
    if len(contexts) < 2:
        return None, None
    pairs = {(quote, each.context) for each in batch if each.context is not None for quote in each.quotes}
    counts = Counter(quote for quote, _ in sorted(pairs))  # sorted, so that all processes name the same of equals
    if not counts:
        return None, 0.0
    quote, count = counts.most_common(1)[0]
    return quote, (count - 1) / (len(contexts) - 1)


def telling(batch: Sequence[Seen], kind: str, limit: int = 3) -> list[Seen]:
    """The completions that show best what an alarm of this kind is about, of different rows as far as there are any."""
    quote, _ = top_quote(batch)
    order = {
        "length_drift": lambda each: each.words,
        "evidence_drift": lambda each: each.evidence_share or 0.0,
        "repeated_quote": lambda each: quote in each.quotes,
    }.get(kind, lambda each: 0)
    # What earned most with the least right in it says best what the reward pays for.
    ranked = sorted(batch, key=lambda each: (order(each), -(each.correct or 0.0), each.total or 0.0), reverse=True)
    seen_rows: set[str] = set()
    first: list[Seen] = []
    others: list[Seen] = []
    for each in ranked:
        (others if each.id in seen_rows else first).append(each)
        seen_rows.add(each.id)
    return (first + others)[:limit]


def _spread(group: Sequence[Seen]) -> float | None:
    totals = [each.total for each in group if each.total is not None]
    return statistics.pstdev(totals) if len(totals) > 1 else None


@lru_cache(maxsize=32)
def _context_digest(passages: tuple[Passage, ...]) -> str:
    """Once for all completions of a row: a long context takes longer than all the rest."""
    return _digest("\n".join(passage.text for passage in passages))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
