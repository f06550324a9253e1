"""Two rewards of one's own: a tagged function, and one with a parameter.

In a config they are used by name, next to the built-in parts:

    rewards:
      accuracy: {use: token_f1, weight: 0.8}
      year:     {use: "examples.custom_reward:names_the_year", weight: 0.1}
      brief:    {use: "examples.custom_reward:brief", weight: 0.1, max_words: 5}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from rewards import RewardError, Sample, reward

YEAR = re.compile(r"\b[12][0-9]{3}\b")


def asks_for_a_year(sample: Sample) -> bool:
    return any(YEAR.search(gold) for gold in sample.golds)


@reward(needs=("golds",), applies=asks_for_a_year)
def names_the_year(sample: Sample) -> float | None:
    """1 if the answer names the gold's year and no other; does not apply to rows whose gold holds no year."""
    named = set(YEAR.findall(sample.care.answer or ""))
    return float(any(named == set(YEAR.findall(gold)) for gold in sample.golds if YEAR.search(gold)))


@dataclass(frozen=True)
class brief:
    """1 for an answer of at most `max_words` words, falling to 0 at twice as many; no answer is 0."""

    max_words: int = 8
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise RewardError(f"max_words is {self.max_words}, but must be at least 1, else no answer is brief.")

    def __call__(self, sample: Sample) -> float:
        words = len((sample.care.answer or "").split())
        return 0.0 if not words else max(0.0, min(1.0, 2.0 - words / self.max_words))
