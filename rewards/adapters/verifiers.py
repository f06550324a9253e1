"""From one composed reward to a verifiers task reward or rubric, and from a record to a verifiers row.

Knows how verifiers calls rewards: `verifiers.v1` tasks (0.4.0) and the `Rubric` of earlier releases (0.1.14); knows no
formula, and imports verifiers only where a rubric is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.adapters.rows import check_composed, figures, from_text, number, to_text
from rewards.adapters.trl import completion_text
from rewards.compose import Score, Weighted
from rewards.errors import RewardError
from rewards.sample import Sample


class TaskReward:
    """A verifiers task reward: `await reward(task, trace)` gives what each part that applies adds to the total."""

    # verifiers writes its tags (`reward`, `reward_priority`, ...) onto this object, so no attribute may have such a name.
    def __init__(self, composed: Weighted, unscored: float | None) -> None:
        self.__name__ = "score"  # verifiers notes a trace that is not scored yet under this name
        self.composed = composed
        self.unscored = unscored

    async def __call__(self, task: Any, trace: Any) -> dict[str, float]:
        record = getattr(task, "record", None)
        if record is None:
            raise RewardError(
                f"the task data {type(task).__name__} has no field 'record'; declare `record: dict` in your TaskData and "
                "fill it with the record."
            )
        sample = Sample.from_record(from_text(record, "task.record"), completion=trace_reply(trace))
        score = self.composed(sample)
        total = number(score, sample, "for_verifiers", self.unscored)
        if score.total is None:
            return {"unscored": total}
        weights = self.composed.weights
        return {name: weights[name] * value for name, value in score.parts.items() if value is not None}


def for_verifiers(reward: Weighted, *, unscored: float | None = None) -> TaskReward:
    """The reward of a `verifiers.v1` task: put it into the task's class as `name = vf.reward(for_verifiers(reward))`.

    The task data needs a field `record` with the record. The trace then holds each part that applies under its name,
    weighted, so that `trace.reward` is the total; a part that does not apply is not in it. A row to which no part
    applies is a task error, unless `unscored` says what it gets.
    """
    return TaskReward(check_composed(reward, "for_verifiers"), unscored)


def rubric_for_verifiers(reward: Weighted, *, unscored: float | None = None) -> Any:
    """A `verifiers.Rubric` for environments of verifiers before 0.4, which read rows made by `to_verifiers_row`.

    Metrics are `<part>/earned`, which add up to the reward, `<part>/applies` and `maximum`. `Rubric` itself turns an
    exception in a reward function into a reward of 0; here it stops the rollout. Raises `RewardError` where verifiers
    is not installed or has no `Rubric`.
    """
    check_composed(reward, "rubric_for_verifiers")
    try:
        import verifiers
    except ImportError as error:
        raise RewardError(f"verifiers cannot be imported ({error}); pip install 'verifiers<0.3'.") from error
    base = getattr(verifiers, "Rubric", None)
    if base is None:
        raise RewardError(
            f"verifiers {getattr(verifiers, '__version__', '?')} has no Rubric; tasks took its place in 0.4, for which "
            "there is for_verifiers(reward), or install 'verifiers<0.3'."
        )
    return _rubric_class(base)(reward, unscored)


def to_verifiers_row(record: Mapping[str, Any], prompt: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The record as a row of an environment's data set before verifiers 0.4; `info["record"]` is the record as JSON.

    >>> to_verifiers_row({"golds": ["Lisbon"]}, [{"role": "user", "content": "Capital?"}])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'prompt': [{'role': 'user', 'content': 'Capital?'}], 'answer': 'Lisbon',
     'info': {'record': '{"golds": ["Lisbon"]}'}}
    """
    return {
        "prompt": [dict(message) for message in prompt],
        "answer": str(record["golds"][0]),
        "info": {"record": to_text(record)},  # verifiers gives keys such as `task` in `info` a meaning of its own
    }


def trace_reply(trace: Any) -> str:
    """The last reply in a trace, with the reasoning that the client split off put back in its think block."""
    reply = trace.last_reply
    messages = trace.assistant_messages
    last = messages[-1] if messages else None
    if last is None or not last.reasoning_content or (last.content or "").strip() != reply:
        return reply
    return completion_text([{"role": "assistant", "content": reply, "reasoning_content": last.reasoning_content}])


def _rubric_class(base: Any) -> Any:
    class WeightedRubric(base):
        """Scores a rollout before the base class adds up, so that an error is raised and not counted as 0."""

        def __init__(self, reward: Weighted, unscored: float | None) -> None:
            self._reward, self._unscored = reward, unscored
            self._numbers: dict[int, dict[str, float]] = {}
            names = list(figures(reward, Score(0.0, dict.fromkeys(reward.parts, 0.0), 0.0)))
            if unscored is not None:
                names.append("unscored/earned")
            weights = [float(name.endswith("/earned")) for name in names]
            super().__init__(funcs=[self._function(name) for name in names], weights=weights)

        def _function(self, name: str) -> Callable[[Any], float]:
            def read(state: Any) -> float:
                return self._numbers[id(state)][name]

            read.__name__ = name
            return read

        def _score(self, state: Any) -> None:
            record = (state.get("info") or {}).get("record")
            sample = Sample.from_record(
                from_text(record, "info['record']"), completion=completion_text(state["completion"])
            )
            score = self._reward(sample)
            total = number(score, sample, "rubric_for_verifiers", self._unscored)
            stands_in = total if score.total is None else 0.0
            self._numbers[id(state)] = {**figures(self._reward, score), "unscored/earned": stands_in}

        async def score_rollout(self, state: Any) -> None:
            self._score(state)
            try:
                await super().score_rollout(state)
            finally:
                del self._numbers[id(state)]

        async def score_group(self, states: Sequence[Any]) -> None:
            try:
                for state in states:
                    self._score(state)
                await super().score_group(states)
            finally:
                for state in states:
                    self._numbers.pop(id(state), None)

    return WeightedRubric
