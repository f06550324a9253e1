"""Reward parts that stand for what an ablation takes away or gets wrong on purpose. None of them is meant for a run of yours."""

from __future__ import annotations

import hashlib
import math

from rewards import Sample, reward
from rewards.temporal import temporal_consistency
from rewards.text import fold

_TIMES = temporal_consistency()


@reward(bounds=(0.0, 1.0))
def random_accuracy(sample: Sample) -> float:
    """1 or 0 by a hash of row and completion, whatever they say: what GRPO does without any information.

    >>> random_accuracy(Sample(id="q1", completion="a")) in (0.0, 1.0)
    True
    """
    digest = hashlib.blake2b(f"{sample.id}\0{sample.completion}".encode("utf-8", "surrogatepass"), digest_size=1)
    return float(digest.digest()[0] % 2)


@reward(applies=lambda sample: bool(sample.context))
def loose_quotes(sample: Sample) -> float:
    """Grounding with the weaknesses of the released CARE code: a quote of any length counts, and so does the question.

    The mean over all spans, 1 if it stands in passages or question and else 0; no span earns 0.2.

    >>> row = Sample(question="Who wrote Emma?", context=["Emma is a novel."])
    >>> loose_quotes(row.with_completion("<think><retrieval>who wrote</retrieval></think> Answer: x"))
    1.0
    """
    spans = sample.care.spans
    if not spans:
        return 0.2
    book = "\n".join(map(fold, [*(passage.text for passage in sample.context), sample.question]))
    return math.fsum(fold(span) in book for span in spans) / len(spans)


@reward(bounds=(-0.5, 1.0), applies=_TIMES.applies)
def session_level(sample: Sample) -> float | None:
    """R_s alone: the half of `temporal_consistency` that judges when a session took place."""
    if not sample.memory.ok:
        return None
    found = [one.when for one in _TIMES.judged(sample)]
    return math.fsum(found) / len(found) if found else -0.5


@reward(bounds=(-1.0, 1.0), applies=_TIMES.applies)
def utterance_level(sample: Sample) -> float | None:
    """R_f alone: the half of `temporal_consistency` that judges when the events told of happened.

    A session without an event that concerns the question is judged by its date, as there.
    """
    if not sample.memory.ok:
        return None
    found = [
        math.fsum(value for _, value in one.events) / len(one.events) if one.events else one.when
        for one in _TIMES.judged(sample)
    ]
    return math.fsum(found) / len(found) if found else -1.0
