"""From one composed reward to OpenRLHF's `reward_func` and agent step, and from a record to OpenRLHF's row.

Knows how OpenRLHF calls rewards (0.11.2, `openrlhf/utils/agent.py`); knows no formula and imports neither OpenRLHF nor
torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.adapters.rows import check_composed, figures, from_text, number, to_text
from rewards.compose import Weighted
from rewards.errors import RewardError, RowError
from rewards.sample import Sample

_log = logging.getLogger(__name__)
# Of a prompt that was cut at its front to fit the model, this much of the end must be left to tell where it ends.
_TAIL_CHARACTERS = 64


@dataclass(frozen=True)
class RewardFunction:
    """OpenRLHF's `reward_func(queries, prompts, labels)`; `step` is the same for an agent of one turn."""

    reward: Weighted
    unscored: float | None = None

    def __call__(self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        try:
            rows = zip(queries, prompts, labels, strict=True)
            samples = [sample_from_openrlhf(completion_of(query, prompt), label) for query, prompt, label in rows]
            return self._scored(samples)
        except Exception:
            # OpenRLHF goes on without a reward after an exception and fails later, far from the cause.
            _log.exception("the reward function failed; OpenRLHF gets no reward for this batch")
            raise

    async def step(self, states: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """The result of an `AgentInstance.step` whose first answer is the last."""
        sample = sample_from_openrlhf(states["action_text"], states["label"])
        return {
            **self._scored([sample]),
            "environment_feedback": "",
            "done": True,
            "sampling_params": states.get("sampling_params"),
        }

    def _scored(self, samples: Sequence[Sample]) -> dict[str, Any]:
        scores = self.reward.batch(samples)
        totals = [number(s, sample, "for_openrlhf", self.unscored) for s, sample in zip(scores, samples, strict=True)]
        shares = [max(0.0, t / s.maximum) if s.maximum > 0 else 0.0 for t, s in zip(totals, scores, strict=True)]
        logs = [figures(self.reward, score) for score in scores]
        return {
            "rewards": _tensor(totals),
            "scores": _tensor(shares),
            "extra_logs": {name: _tensor([log[name] for log in logs]) for name in (logs[0] if logs else ())},
        }


def for_openrlhf(reward: Weighted, *, unscored: float | None = None) -> RewardFunction:
    """OpenRLHF's `reward_func(queries, prompts, labels)`, whose method `step` serves an agent of one turn.

    A label is the record as JSON, as `to_openrlhf_row` writes it, or else the gold answer itself. `rewards` are the
    totals, `scores` their share of the row's maximum (0 to 1, for dynamic filtering), `extra_logs` the parts; tensors
    where torch is loaded, as it is in OpenRLHF, else lists. Raises `RewardError` for a row to which no part applies,
    unless `unscored` says what it gets, and `RowError` where a query does not hold its prompt.

    >>> from rewards.adapters.openrlhf import RewardFunction
    >>> from rewards import exact_match, weighted
    >>> reward_func = for_openrlhf(weighted(accuracy=(2.0, exact_match())))
    >>> result = reward_func(["Capital? <think></think> Answer: Lisbon"], ["Capital?"], ["Lisbon"])
    >>> float(result["rewards"][0]), float(result["scores"][0])
    (2.0, 1.0)
    """
    return RewardFunction(check_composed(reward, "for_openrlhf"), unscored)


def to_openrlhf_row(record: Mapping[str, Any], prompt: str | Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The record as a row of an OpenRLHF prompt data set: keys `input` and `label` (the record as JSON).

    >>> to_openrlhf_row({"id": "q1", "golds": ["Lisbon"]}, "Capital?")
    {'input': 'Capital?', 'label': '{"id": "q1", "golds": ["Lisbon"]}'}
    """
    return {
        "input": prompt if isinstance(prompt, str) else [dict(message) for message in prompt],
        "label": to_text(record),
    }


def completion_of(query: str, prompt: str) -> str:
    """What follows the prompt in a query; a prompt that was cut at its front still counts by its end.

    >>> completion_of("Capital? Lisbon", "Capital?")
    ' Lisbon'
    """
    if query.startswith(prompt):
        return query[len(prompt) :]
    tail = prompt[-_TAIL_CHARACTERS:]
    start = query.find(tail) if len(tail) == _TAIL_CHARACTERS else -1
    if start < 0:
        raise RowError(
            f"a query starts with {query[:60]!r} and does not hold the end of its prompt ({tail!r}), so the response "
            "cannot be told from the prompt; give the prompts as the tokenizer decodes them, and leave room for them "
            "in the maximal length."
        )
    return query[start + len(tail) :]


def sample_from_openrlhf(completion: str, label: Any) -> Sample:
    """One sample from a response and its label: a record (as JSON or mapping), or the gold answer itself.

    >>> sample_from_openrlhf("Answer: 7", "7").golds
    ('7',)
    """
    if isinstance(label, Mapping) or (isinstance(label, str) and label.lstrip().startswith("{")):
        return Sample.from_record(from_text(label, "the label"), completion=completion)
    if label is None or label == "":
        raise RewardError(
            "the label is empty, so there is nothing to score against; name the column with --data.label_key."
        )
    return Sample(golds=label, completion=completion)


def _tensor(values: list[float]) -> Any:
    torch = sys.modules.get("torch")
    return values if torch is None else torch.tensor(values)
