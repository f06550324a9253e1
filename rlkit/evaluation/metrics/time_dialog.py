"""Time-Dialog's scores of an answer: right or not, and the graded score of each task that the published table shows.

Knows how answers of each kind are compared through `rewards.temporal_answer`; refuses to know sessions and dates of speech.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from rewards.answers import read_letters, temporal_answer
from rewards.sample import Sample
from rlkit.evaluation.metrics.answers import answer_items, golds_of

_RATE = temporal_answer()


@dataclass(frozen=True)
class time_dialog_em:
    """1 if the answer is right by the rule of its kind (Memory-T1, R_a), else 0; an order must agree in every position.

    >>> row = Sample(kind="order", golds="(2)(1)(3)", completion="(2)(3)(1)")
    >>> time_dialog_em()(row), time_dialog()(row)
    (0.0, 0.3333333333333333)
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        return float(_rate(sample, answer_items(sample, self.strict)) == 1.0)


@dataclass(frozen=True)
class time_dialog:
    """The score of the published Time-Dialog table, by the row's kind, from 0 to 1, the best over all golds.

    - choice: F1 of the set of letters;
    - time: 1 if the date agrees, to the minute when the gold has one;
    - duration: 1 if the lengths agree within 2 %, else F1 of the set of words ("2 days 3 hours" for "2 days": 0.67);
    - order: the share of positions that agree, over the longer of the two;
    - text: F1 of the bags of tokens.
    These rules are the ones that the printed figures fit (see `published.yaml`); gold answers score exactly 1, where the
    released script cuts a choice of several letters to one. Raises `RowError` for an unknown kind.

    >>> row = Sample(kind="choice", golds="B  C", completion='{"selected_memory": ["s1"], "answer": "B"}')
    >>> time_dialog()(row), time_dialog_em()(row)
    (0.6666666666666666, 0.0)
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        answer = answer_items(sample, self.strict)
        score = _rate(sample, answer)
        if sample.kind == "choice" and score < 1.0:
            given = read_letters(answer) or frozenset()
            return max(_set_f1(given, gold) for gold in _gold_letters(sample))
        if sample.kind == "duration" and score < 1.0:
            return max(_set_f1(_words(", ".join(answer)), _words(gold)) for gold in sample.golds)
        return score


def _rate(sample: Sample, answer: tuple[str, ...]) -> float:
    """R_a of an answer, whatever the form in which it was given; an empty answer is wrong."""
    golds = golds_of(sample)
    # The part reads Memory-T1 output alone; a sample of just what it compares also spares copying the sessions.
    output = json.dumps({"selected_memory": [], "answer": list(answer) if len(answer) > 1 else answer[0]})
    row = Sample(id=sample.id, kind=sample.kind, golds=golds, completion=output)
    _RATE.applies(row)  # raises for an unknown kind, also where the answer is empty
    return _RATE(row) or 0.0


def _gold_letters(sample: Sample) -> list[frozenset[str]]:
    read = [read_letters((gold,)) or frozenset() for gold in sample.golds]
    return [frozenset().union(*read)] if all(len(letters) == 1 for letters in read) else read


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().replace(",", " ").split())


def _set_f1(ours: frozenset[str], theirs: frozenset[str]) -> float:
    return 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours and theirs else 0.0
