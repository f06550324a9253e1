"""Is the answer right? Compares the text after `Answer:` with every accepted gold answer.

Knows nothing of the context: a right answer without a quote is right here and earns nothing in grounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rewards.errors import RowError
from rewards.sample import Sample
from rewards.text import bag_f1, same_answer


@dataclass(frozen=True)
class token_f1:
    """SQuAD token F1 between answer and gold, the best over all golds, in [0, 1]; no answer = 0 (CARE, section 3.3).

    Tokens are bags: saying the answer fifty times costs precision. Raises `RowError` when every gold is blank.

    >>> token_f1()(Sample(golds=["Lisbon", "Lisboa"], completion="<think></think> Answer: the Lisbon."))
    1.0
    >>> token_f1()(Sample(golds="Lisbon", completion="<think></think> Answer: Lisbon or Porto"))
    0.5
    """

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        golds = _golds(sample)
        answer = sample.care.answer
        return 0.0 if answer is None else max(bag_f1(answer, gold) for gold in golds)


@dataclass(frozen=True)
class exact_match:
    """1 if the answer equals a gold after SQuAD normalisation, else 0; raises `RowError` when every gold is blank.

    >>> exact_match()(Sample(golds="A", completion="<think></think> Answer: a."))
    1.0
    """

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        golds = _golds(sample)
        answer = sample.care.answer
        return 0.0 if answer is None else float(any(same_answer(answer, gold) for gold in golds))


def _golds(sample: Sample) -> Sequence[str]:
    if not sample.golds:
        raise RowError(
            f"row {sample.id or '?'}: has no golds that are not blank, so no answer could earn anything; fill them in, or "
            "leave the row out."
        )
    return sample.golds
