"""Evidence grounding for Memory-T1: how well the selected sessions match the labelled ones.

Knows session ids alone; refuses to know what the sessions say and when they took place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rewards.parse_memory import session_key
from rewards.sample import Sample


@dataclass(frozen=True)
class jaccard_evidence:
    """R_g = 2·J − 1 with J = Jaccard(selected sessions, gold sessions) (Memory-T1, "Reward"), from -1 to 1.

    Applies to rows with labelled evidence. `None` for a completion that cannot be read, because `memory_format` pays
    for that. Repeated ids count once, an id that does not exist is a wrong session, no selection at all earns -1.

    >>> row = Sample(evidence=["session_3"], completion='{"selected_memory": ["session_3", "session_4"], "answer": "B"}')
    >>> jaccard_evidence()(row)
    0.0
    """

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def applies(self, sample: Sample) -> bool:
        return len(sample.evidence) > 0

    def __call__(self, sample: Sample) -> float | None:
        if not sample.memory.ok or not sample.evidence:
            return None
        gold = {session_key(name) for name in sample.evidence}
        selected = set(sample.memory.selected)
        return 2.0 * len(gold & selected) / len(gold | selected) - 1.0
