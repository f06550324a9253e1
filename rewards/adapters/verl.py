"""From one composed reward to verl's `compute_score`, and from a record to verl's row.

Knows how verl's reward managers call a custom reward function (verl 0.9.1, `verl/experimental/reward_loop/reward_manager`
and `verl/workers/reward_manager`); knows no formula and does not import verl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.adapters.rows import check_composed, figures, from_text, number, to_text
from rewards.compose import Weighted
from rewards.sample import Sample


@dataclass(frozen=True)
class ComputeScore:
    """verl's reward function for one response, as its naive, dapo, gdpo, limited and remote managers call it."""

    reward: Weighted
    unscored: float | None = None

    def __call__(
        self,
        data_source: str,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **router: Any,
    ) -> dict[str, float]:
        sample = sample_from_verl(data_source, solution_str, ground_truth, extra_info)
        return self.scored([sample])[0]

    def scored(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        scores = self.reward.batch(samples)
        return [
            {"score": number(score, sample, "for_verl", self.unscored), **figures(self.reward, score)}
            for sample, score in zip(samples, scores, strict=True)
        ]


@dataclass(frozen=True)
class ComputeScores(ComputeScore):
    """verl's reward function for a whole batch, as its batch manager calls it."""

    def __call__(  # type: ignore[override]  # verl tells the two forms apart by the names of their arguments
        self,
        data_sources: Sequence[str],
        solution_strs: Sequence[str],
        ground_truths: Sequence[Any],
        extra_infos: Sequence[Mapping[str, Any] | None] | None = None,
        **router: Any,
    ) -> list[dict[str, float]]:
        infos = [None] * len(solution_strs) if extra_infos is None else extra_infos
        rows = zip(data_sources, solution_strs, ground_truths, infos, strict=True)
        return self.scored([sample_from_verl(*row) for row in rows])


def for_verl(reward: Weighted, *, batch: bool = False, unscored: float | None = None) -> ComputeScore:
    """verl's `compute_score(data_source, solution_str, ground_truth, extra_info)`, or its batched form.

    It returns `{"score": total, "<part>/earned", "<part>/applies", ..., "maximum"}`, all numbers, which verl logs
    beside the reward. The record is read from `extra_info["record"]`, where `to_verl_row` puts it, else from the fields
    of `extra_info` itself with `ground_truth` as golds. A row to which no part applies raises `RewardError`, unless
    `unscored` says what it gets. The function pickles when the parts do.

    >>> from rewards import exact_match, weighted
    >>> compute_score = for_verl(weighted(accuracy=(1.0, exact_match())))
    >>> compute_score("trivia", "<think></think> Answer: Lisbon", "Lisbon", {})
    {'score': 1.0, 'accuracy/earned': 1.0, 'accuracy/applies': 1.0, 'maximum': 1.0}
    """
    return (ComputeScores if batch else ComputeScore)(check_composed(reward, "for_verl"), unscored)


def to_verl_row(record: Mapping[str, Any], prompt: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The record as a row of verl's parquet files; the whole record travels as JSON in `extra_info["record"]`.

    >>> to_verl_row({"id": "q1", "golds": ["Lisbon"], "source": "trivia"}, [{"role": "user", "content": "Capital?"}])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'data_source': 'trivia', 'prompt': [{'role': 'user', 'content': 'Capital?'}], 'ability': 'care',
     'reward_model': {'style': 'rule', 'ground_truth': ['Lisbon']},
     'extra_info': {'record': '{"id": "q1", "golds": ["Lisbon"], "source": "trivia"}'}}
    """
    return {
        "data_source": record.get("source") or "records",
        "prompt": [dict(message) for message in prompt],
        "ability": record.get("task") or "care",
        "reward_model": {"style": "rule", "ground_truth": list(record["golds"])},
        "extra_info": {"record": to_text(record)},
    }


def sample_from_verl(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None
) -> Sample:
    """One sample from the arguments of `compute_score`; golds stand in the record or else in `ground_truth`.

    >>> sample_from_verl("trivia", "Lisbon", "Lisbon", {"evidence": ["Lisbon is the capital."], "num_turns": 1}).golds
    ('Lisbon',)
    """
    row = {name: _plain(value) for name, value in (extra_info or {}).items()}
    record = row.pop("record", None)
    if record is not None:
        row.update(from_text(record, "extra_info['record']"))
    row["golds"] = _plain(row.get("golds")) or _plain(ground_truth)
    row["source"] = row.get("source") or data_source
    return Sample.from_record(row, completion=solution_str)


def _plain(value: Any) -> Any:
    """Lists for the arrays that a parquet file read by pandas holds."""
    return value.tolist() if hasattr(value, "tolist") else value
