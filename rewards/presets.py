"""The two published rewards, composed: a starting point whose parts can be replaced by name.

Knows weights and names only; the formulas stand with the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewards.accuracy import token_f1
from rewards.answers import temporal_answer
from rewards.compose import Weighted, weighted
from rewards.errors import RewardError, nearest
from rewards.evidence import jaccard_evidence
from rewards.format import care_format
from rewards.grounding import quotes_in_context
from rewards.parse_memory import memory_format
from rewards.temporal import temporal_consistency


def care(**replacements: Any) -> Weighted:
    """R = 0.7 accuracy + 0.1 format + 0.2 grounding, in [0, 1] (CARE, arXiv 2509.13683, section 3.3).

    `replacements` replace a part or add one, as `(weight, part)`; a part alone keeps the weight of the one it replaces.
    Raises `RewardError` for a further part without a weight.

    >>> dict(care().weights)
    {'accuracy': 0.7, 'format': 0.1, 'grounding': 0.2}
    >>> from rewards import answer_in_quotes, exact_match
    >>> strict = care(grounding=answer_in_quotes(), accuracy=(0.5, exact_match()))
    >>> strict.weights["grounding"], strict.weights["accuracy"]
    (0.2, 0.5)
    """
    parts: dict[str, Any] = {
        "accuracy": (0.7, token_f1()),
        "format": (0.1, care_format()),
        "grounding": (0.2, quotes_in_context()),
    }
    return _composed("care", parts, replacements)


def memory_t1(**replacements: Any) -> Weighted:
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
    return _composed("memory_t1", parts, replacements)


def _composed(preset: str, parts: Mapping[str, tuple[float, Any]], replacements: Mapping[str, Any]) -> Weighted:
    """The preset's parts with the replacements, which keep the weight of what they replace unless they bring one."""
    given: dict[str, Any] = {}
    for name, part in replacements.items():
        if isinstance(part, list | tuple):
            given[name] = part
        elif name in parts:
            given[name] = (parts[name][0], part)
        else:
            raise RewardError(
                f"part {name!r}: the preset {preset} has no such part whose weight it could take; give (weight, part), e.g. "
                f"{name}=(0.2, ...), or replace one of its own. {nearest(name, parts)}"
            )
    return weighted(**{**parts, **given})


PRESETS = {"care": care, "memory_t1": memory_t1}
