"""What the adapters share: the record as text inside another framework's row, and a score as plain numbers.

Knows the record's layout and what a score holds; knows no framework.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rewards.compose import Score, Weighted
from rewards.errors import RewardError, RowError
from rewards.part import part_name
from rewards.sample import Sample


def check_composed(reward: Any, adapter: str) -> Weighted:
    """The reward as it is; raises `RewardError` for a single part, which has neither name nor weight."""
    if not isinstance(reward, Weighted):
        raise RewardError(
            f"{adapter} got {part_name(reward)}, but needs a composed reward; write weighted(my_name=(1.0, ...))."
        )
    return reward


def to_text(record: Mapping[str, Any]) -> str:
    """The record as one JSON text, without its prompt and completion: every framework carries text unchanged.

    >>> to_text({"id": "q1", "golds": ["Lisbon"], "asked_at": None, "completion": "..."})
    '{"id": "q1", "golds": ["Lisbon"]}'
    """
    kept = {key: value for key, value in record.items() if value is not None and key not in ("prompt", "completion")}
    return json.dumps(kept, ensure_ascii=False)


def from_text(value: Any, where: str) -> dict[str, Any]:
    """The record in a JSON text or in a mapping; raises `RowError` that starts with `where` for anything else.

    >>> from_text('{"id": "q1"}', "label")
    {'id': 'q1'}
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{where} is {value!r:.60}, but must be a record as JSON: {error}.") from error
    if not isinstance(value, Mapping):
        raise RowError(f"{where} holds {type(value).__name__} ({value!r:.60}), but must be a record: one JSON object.")
    return dict(value)


def number(score: Score, sample: Sample, adapter: str, unscored: float | None) -> float:
    """The total, for a framework that takes only numbers; `unscored` stands for a row to which no part applies.

    Raises `RewardError` where there is neither: a row that nothing can judge is no row that earned 0.
    """
    if score.total is not None:
        return score.total
    if unscored is not None:
        return unscored
    failed = "".join(f" ({message})" for message in score.errors.values())
    raise RewardError(
        f"no part of the reward gave a value for row {sample.id or '?'}{failed}, so it has no score, and the framework "
        f"takes only numbers; keep such rows out, or say what they are to get: {adapter}(reward, unscored=0.0)."
    )


def figures(reward: Weighted, score: Score) -> dict[str, float]:
    """A score as numbers to log: what each part adds to the total, whether it applies, and the row's maximum.

    A part that does not apply adds 0, which is exact, and `applies` tells it from one that earned 0. Every row has
    the same keys, as frameworks require.

    >>> from rewards import weighted
    >>> reward = weighted(short=(0.5, lambda sample: 1.0), never=(0.5, lambda sample: None))
    >>> figures(reward, reward(Sample()))
    {'short/earned': 0.5, 'short/applies': 1.0, 'never/earned': 0.0, 'never/applies': 0.0, 'maximum': 1.0}
    """
    numbers = {}
    for name, value in score.parts.items():
        numbers[f"{name}/earned"] = 0.0 if value is None else reward.weights[name] * value
        numbers[f"{name}/applies"] = float(value is not None)
    return {**numbers, "maximum": score.maximum}
