"""How well a completion finds the evidence: its quotes against labelled facts, its sessions against labelled sessions.

Knows labels alone; refuses to know the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from rewards.coverage import fact_coverage
from rewards.evidence import jaccard_evidence
from rewards.grounding import has_passages
from rewards.parse_memory import session_key
from rewards.sample import Sample
from rewards.temporal import temporal_consistency
from rlkit.evaluation.metrics.answers import is_memory

MAX_WORDS = 10_000  # of the quotes of one completion; comparing more takes long and cannot raise a score
_COVERAGE = fact_coverage()
_JACCARD = jaccard_evidence()
_TEMPORAL = temporal_consistency()


@dataclass(frozen=True)
class evidence_facts:
    """`rewards.fact_coverage` of the labelled supporting facts: "precision", "recall" or "f1", in [0, 1]; no quote = 0.

    >>> row = Sample(context=["Ada hired Leo. Leo visited Fenwick."], evidence=["Ada hired Leo.", "Leo visited Fenwick."])
    >>> one = row.with_completion("<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Fenwick")
    >>> [evidence_facts(measure)(one) for measure in ("precision", "recall", "f1")]
    [1.0, 0.5, 0.6666666666666666]
    """

    measure: str

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        return _has_facts(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not _has_facts(sample):
            return None
        precision, recall = _precision_recall(sample)
        if self.measure == "f1":
            return 2 * precision * recall / (precision + recall) if precision and recall else 0.0
        return precision if self.measure == "precision" else recall


@dataclass(frozen=True)
class evidence_bleu:
    """Sentence BLEU (`sacrebleu`, effective order) of the quoted text against the labelled facts, in [0, 1]; no quote = 0.

    The distinct quotes in their order are the hypothesis, the facts in theirs the one reference. Applies to rows with
    passages and labelled facts.

    >>> row = Sample(context=["Ada hired Leo in Rome."], evidence=["Ada hired Leo in Rome."])
    >>> evidence_bleu()(row.with_completion("<think><retrieval>Ada hired Leo in Rome.</retrieval></think>"))
    1.0
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    requires: ClassVar[tuple[str, ...]] = ("sacrebleu",)

    def applies(self, sample: Sample) -> bool:
        return _has_facts(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not _has_facts(sample):
            return None
        score: float = _bleu(quoted_text(sample), _facts(sample)).score
        return min(score / 100, 1.0)  # sacrebleu gives 100.00000000000004 for equal texts


@dataclass(frozen=True)
class evidence_bleu_corpus:
    """Corpus BLEU (`sacrebleu`) of the quoted text of all rows against their facts, in [0, 1].

    A figure of many rows, so a row gives the counts that add up to it: n-grams of 1 to 4 words that match, n-grams there
    are, words quoted, words of the facts. `figure` turns their sums into BLEU.

    >>> row = Sample(context=["Ada hired Leo in Rome."], evidence=["Ada hired Leo in Rome."])
    >>> bleu = evidence_bleu_corpus()
    >>> bleu(row.with_completion("<think><retrieval>Ada hired Leo</retrieval></think>"))
    (3.0, 2.0, 1.0, 0.0, 3.0, 2.0, 1.0, 0.0, 3.0, 6.0)
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    requires: ClassVar[tuple[str, ...]] = ("sacrebleu",)

    def applies(self, sample: Sample) -> bool:
        return _has_facts(sample)

    def __call__(self, sample: Sample) -> tuple[float, ...] | None:
        if not _has_facts(sample):
            return None
        score = _bleu(quoted_text(sample), _facts(sample))
        return tuple(map(float, (*score.counts, *score.totals, score.sys_len, score.ref_len)))

    def figure(self, sums: Sequence[float]) -> float:
        """Corpus BLEU of the sums of what rows gave."""
        from sacrebleu.metrics.bleu import BLEU

        counts = [round(value) for value in sums]
        score: float = BLEU.compute_bleu(counts[:4], counts[4:8], counts[8], counts[9], smooth_method="exp").score
        return min(score / 100, 1.0)


@dataclass(frozen=True)
class evidence_rouge_l:
    """ROUGE-L F-measure of the quoted text against the labelled facts, in [0, 1]; no quote = 0.

    Tokens and formula of `rouge-score` without stemming. Quotes and facts as in `evidence_bleu`.

    >>> row = Sample(context=["Ada hired Leo in Rome."], evidence=["Ada hired Leo in Rome."])
    >>> evidence_rouge_l()(row.with_completion("<think><retrieval>Ada hired Leo</retrieval></think>"))
    0.7499999999999999
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    requires: ClassVar[tuple[str, ...]] = ("rouge_score",)

    def applies(self, sample: Sample) -> bool:
        return _has_facts(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not _has_facts(sample):
            return None
        from rapidfuzz.distance import (
            LCSseq,  # linear memory and a thousand times the speed of the table in rouge-score
        )
        from rouge_score.tokenize import tokenize

        ours, theirs = tokenize(quoted_text(sample), None), tokenize(_facts(sample), None)
        common = LCSseq.similarity(ours, theirs)
        if not common:
            return 0.0
        precision, recall = common / len(ours), common / len(theirs)
        return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class session_overlap:
    """Selected sessions against labelled ones: "jaccard", "precision" or "recall", in [0, 1].

    A completion that selects nothing, or that cannot be read, scores 0. Applies to rows with labelled sessions.

    >>> row = Sample(task="memory_t1", evidence=["s1", "s2"], completion='{"selected_memory": ["s1", "s9"], "answer": "B"}')
    >>> [session_overlap(measure)(row) for measure in ("jaccard", "precision", "recall")]
    [0.3333333333333333, 0.5, 0.5]
    """

    measure: str

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        return is_memory(sample) and _JACCARD.applies(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not self.applies(sample):
            return None
        if self.measure == "jaccard":
            reward = _JACCARD(sample)
            return 0.0 if reward is None else (reward + 1.0) / 2.0
        gold = {session_key(name) for name in sample.evidence}
        selected = set(sample.memory.selected)
        return len(gold & selected) / max(1, len(gold if self.measure == "recall" else selected))


@dataclass(frozen=True)
class temporal:
    """R_t of Memory-T1, from -0.75 to 1: do the selected sessions, and what they tell of, lie in the question's range?

    As `rewards.temporal_consistency`, except that a completion that cannot be read selects nothing and gets the least.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = _TEMPORAL.bounds

    def applies(self, sample: Sample) -> bool:
        return _TEMPORAL.applies(sample)

    def __call__(self, sample: Sample) -> float | None:
        if not _TEMPORAL.applies(sample):
            return None
        value = _TEMPORAL(sample)
        return self.bounds[0] if value is None else value


def quoted_text(sample: Sample) -> str:
    """The distinct quotes of a completion in their order, as one text of at most 10,000 words."""
    words: list[str] = []
    for span in dict.fromkeys(sample.care.spans):
        words += span.split(maxsplit=MAX_WORDS)[: MAX_WORDS - len(words)]
        if len(words) >= MAX_WORDS:
            break
    return " ".join(words)


def _facts(sample: Sample) -> str:
    return " ".join(" ".join(dict.fromkeys(sample.evidence)).split())


def _has_facts(sample: Sample) -> bool:
    return bool(sample.evidence) and has_passages(sample) and not is_memory(sample)


_last: tuple[Sample, tuple[float, float]] | None = None


def _precision_recall(sample: Sample) -> tuple[float, float]:
    """Of the labelled facts; three metrics ask for both, one after the other, and finding the quotes takes longest."""
    global _last
    known = _last
    if known is None or known[0] is not sample:
        found = _COVERAGE.judged(sample) if sample.care.spans else None
        known = _last = (sample, (found.precision, found.recall) if found else (0.0, 0.0))
    return known[1]


@lru_cache(maxsize=1)
def _scorer() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@lru_cache(maxsize=256)  # two metrics ask for the same row, one after the other
def _bleu(hypothesis: str, reference: str) -> Any:
    return _scorer().sentence_score(hypothesis, [reference])
