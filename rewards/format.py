"""Does the completion keep to the output format? Says nothing about what it quotes or answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rewards.sample import Sample


@dataclass(frozen=True)
class care_format:
    """1 if the completion has the CARE format, else 0; `sample.care.problems` says why (CARE, section 3.3).

    The format: one think block at the start, balanced tags, at least one non-empty quote inside the block and none
    outside, one non-empty `Answer:` after it.

    >>> good = "<think><retrieval>Emma is by Jane Austen.</retrieval></think> Answer: Jane Austen"
    >>> care_format()(Sample(completion=good)), care_format()(Sample(completion="Sure! " + good))
    (1.0, 0.0)
    """

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        return float(not sample.care.problems)
