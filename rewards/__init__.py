"""Rewards for retrieval-grounded reasoning: small parts, composed under names of your choice.

Standard library and rapidfuzz only: importing this package loads no trainer and no torch.
"""

from rewards import presets
from rewards.accuracy import exact_match, token_f1
from rewards.adapters import for_trl
from rewards.answers import temporal_answer
from rewards.compose import Score, Weighted, weighted
from rewards.coverage import fact_coverage
from rewards.errors import RewardError, RowError
from rewards.evidence import jaccard_evidence
from rewards.format import care_format
from rewards.grounding import quotes_in_context
from rewards.parse_memory import memory_format
from rewards.part import Part, for_task, reward
from rewards.quoted_answer import answer_in_quotes
from rewards.sample import Event, Passage, Sample, Session, Utterance
from rewards.temporal import temporal_consistency

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
    "answer_in_quotes",
    "care_format",
    "exact_match",
    "fact_coverage",
    "for_task",
    "for_trl",
    "jaccard_evidence",
    "memory_format",
    "presets",
    "quotes_in_context",
    "reward",
    "temporal_answer",
    "temporal_consistency",
    "token_f1",
    "weighted",
]
