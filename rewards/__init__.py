"""Rewards for retrieval-grounded reasoning: small parts, composed under names of your choice.

Standard library, rapidfuzz and dateutil only: importing this package loads no trainer and no torch.
"""

from rewards.compose import Part, Score, Weighted, for_task, reward, weighted
from rewards.errors import RewardError
from rewards.sample import Event, Passage, Sample, Session, Utterance

__all__ = [
    "Event",
    "Part",
    "Passage",
    "RewardError",
    "Sample",
    "Score",
    "Session",
    "Utterance",
    "Weighted",
    "for_task",
    "reward",
    "weighted",
]
