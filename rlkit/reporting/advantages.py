"""What each rollout of a group weighed in the update: TRL's advantages, from the rewards that are logged.

Knows TRL's settings by name and its formula (`GRPOTrainer`, TRL 1.16); imports no trainer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

EPSILON = 1e-4  # TRL's


def advantages(totals: Sequence[float | None], scale: Any = "group", spread: float | None = None) -> list[float]:
    """The advantages of one whole group: reward less the group's mean, over a standard deviation.

    `scale` is TRL's `scale_rewards`: "group" (or True), "none" (or False), or "batch" with `spread`, the standard deviation
    of the whole batch. A completion that no part applies to has the advantage 0 and is left out of the mean.

    >>> [round(value, 3) for value in advantages([1.0, 0.0, 0.5, None])]
    [1.0, -1.0, 0.0, 0]
    """
    known = [total for total in totals if total is not None]
    if not known:
        return [0.0] * len(totals)
    mean = math.fsum(known) / len(known)
    if scale in ("none", False):
        by = 1.0
    elif scale == "batch":
        by = (spread or 0.0) + EPSILON
    else:
        by = deviation(known) + EPSILON
    return [0 if total is None else (total - mean) / by for total in totals]


def deviation(values: Sequence[float]) -> float:
    """The standard deviation with n - 1, as TRL takes it; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
