"""LoCoMo's official scoring of an answer, by the category of its question (`task_eval/evaluation.py` of its release).

Knows the official normalisation, which is not SQuAD's; refuses to know the conversation and the evidence.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from rewards.errors import RowError
from rewards.sample import Sample
from rlkit.evaluation.metrics.answers import final_answer, golds_of, overlap_f1

MULTI_HOP, TEMPORAL, OPEN_DOMAIN, SINGLE_HOP, ADVERSARIAL = 1, 2, 3, 4, 5
NOT_THERE = ("no information available", "not mentioned")  # what a right answer to an adversarial question says
_PUNCTUATION = {ord(mark): None for mark in string.punctuation}
_COMMAS = {ord(","): None}


@dataclass(frozen=True)
class locomo_f1:
    """LoCoMo's official score of an answer, from 0 to 1, the best over all golds.

    By the column `category`: 1 (multi-hop) cuts answer and gold at commas and takes, for each part of the gold, the best
    part of the answer; 2, 4 (temporal, single-hop) and 3 (open-domain, whose gold ends at its first ";") compare bags of
    stemmed tokens; 5 (adversarial) is 1 if the answer says that the information is not there. Raises `RowError` for rows
    without a category. Needs `regex` and `nltk` (its stemmer, no corpora).

    >>> row = {"golds": "pottery, camping", "category": 1}
    >>> rate = locomo_f1()
    >>> rate(Sample.from_record(row, completion="She camped.")), rate(Sample.from_record(row, completion="camps and pottery"))
    (0.3333333333333333, 0.6666666666666666)
    >>> rate(Sample.from_record({"golds": "-", "category": 5}, completion="It is not mentioned."))
    1.0
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    requires: ClassVar[tuple[str, ...]] = ("nltk", "regex")

    def __call__(self, sample: Sample) -> float:
        category = _category(sample)
        answer = final_answer(sample, self.strict)
        if category == ADVERSARIAL:
            return float(any(said in answer.lower() for said in NOT_THERE))
        golds = golds_of(sample)
        if category == OPEN_DOMAIN:
            golds = [gold.split(";")[0].strip() for gold in golds]
        score = parts_f1 if category == MULTI_HOP else stemmed_f1
        return max(score(answer, gold) for gold in golds)


def stemmed_f1(answer: str, gold: str) -> float:
    """F1 of the bags of stemmed tokens; commas, punctuation and the words a, an, the and and do not count.

    >>> stemmed_f1("They painted sunsets", "a painting, and a sunset")
    0.8
    """
    return overlap_f1(_stems(answer), _stems(gold))


def parts_f1(answer: str, gold: str) -> float:
    """The mean, over the comma-separated parts of the gold, of the best `stemmed_f1` of any such part of the answer."""
    ours = [_stems(part) for part in answer.split(",")]
    theirs = [_stems(part) for part in gold.split(",")]
    return math.fsum(max(overlap_f1(one, other) for one in ours) for other in theirs) / len(theirs)


def _stems(text: str) -> list[str]:
    stem = _stemmer()
    spaced = _articles().sub(" ", text.lower().translate(_PUNCTUATION))
    return [stem(word) for word in spaced.split()]


@lru_cache(maxsize=1)
def _articles() -> Any:
    import regex  # as in the official script: its word boundaries are not those of `re` beside combining marks

    return regex.compile(r"\b(a|an|the|and)\b")


@lru_cache(maxsize=1)
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    return lru_cache(maxsize=1 << 16)(PorterStemmer().stem)


def _category(sample: Sample) -> int:
    category = sample.columns.get("category")
    if category not in (MULTI_HOP, TEMPORAL, OPEN_DOMAIN, SINGLE_HOP, ADVERSARIAL):
        raise RowError(
            f"row {sample.id or '?'}: its category is {category!r}, but LoCoMo's scoring is by category, 1 to 5; take the "
            "rows from a `locomo` source, or use another metric."
        )
    return int(category)
