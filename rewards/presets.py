"""The two published rewards, composed: a starting point whose parts can be replaced by name.

Knows weights and names only; the formulas stand with the parts.
"""

from __future__ import annotations

from typing import Any

from rewards.accuracy import token_f1
from rewards.answers import temporal_answer
from rewards.compose import Weighted, weighted
from rewards.evidence import jaccard_evidence
from rewards.format import care_format
from rewards.grounding import quotes_in_context
from rewards.parse_memory import memory_format
from rewards.temporal import temporal_consistency


def care(**replacements: tuple[float, Any]) -> Weighted:
    """R = 0.7 accuracy + 0.1 format + 0.2 grounding, in [0, 1] (CARE, arXiv 2509.13683, section 3.3).

    `replacements` replace a part or add one: `care(accuracy=(0.7, exact_match()))`.

    >>> dict(care().weights)
    {'accuracy': 0.7, 'format': 0.1, 'grounding': 0.2}
    """
    parts: dict[str, Any] = {
        "accuracy": (0.7, token_f1()),
        "format": (0.1, care_format()),
        "grounding": (0.2, quotes_in_context()),
    }
    return weighted(**{**parts, **replacements})


def memory_t1(**replacements: tuple[float, Any]) -> Weighted:
    """R = 0.6 accuracy + 0.2 evidence + 0.2 temporal, -0.5 if the output does not parse (Memory-T1, arXiv 2512.20092).

    The format part is 0 or -0.5; when it is -0.5 the other parts do not apply. `replacements` as in `care`.

    >>> from rewards import Sample
    >>> memory_t1()(Sample(task="memory_t1", kind="choice", golds="B", completion="no JSON")).total
    -0.5
    """
    parts: dict[str, Any] = {
        "format": (1.0, memory_format()),
        "accuracy": (0.6, temporal_answer()),
        "evidence": (0.2, jaccard_evidence()),
        "temporal": (0.2, temporal_consistency()),
    }
    return weighted(**{**parts, **replacements})


PRESETS = {"care": care, "memory_t1": memory_t1}
