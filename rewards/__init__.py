"""Rewards for retrieval-grounded reasoning: small parts, composed under names of your choice.

Standard library, rapidfuzz and dateutil only: importing this package loads no trainer and no torch.
"""

from rewards.adapters import for_trl
from rewards.compose import Score, Weighted, weighted
from rewards.errors import RewardError, RowError
from rewards.part import Part, for_task, reward
from rewards.sample import Event, Passage, Sample, Session, Utterance

__all__ = [
    "Event",
    "Part",
    "Passage",
    "RewardError",
    "RowError",
    "Sample",
    "Score",
    "Session",
    "Utterance",
    "Weighted",
    "for_task",
    "for_trl",
    "reward",
    "weighted",
]
