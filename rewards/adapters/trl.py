"""From one composed reward to the functions and weights that a TRL trainer takes.

Knows how TRL calls reward functions and what its columns look like; knows no formula and imports no trainer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.adapters.rows import check_composed
from rewards.compose import Score, Weighted
from rewards.errors import RewardError
from rewards.sample import Sample

Observer = Callable[[Sequence[Sample], Sequence[Score], dict[str, Any]], None]
Scorer = Callable[[Sequence[Sample], dict[str, Any]], list[Score]]
_log = logging.getLogger(__name__)
# What TRL passes beside the columns of the data set: for TRL-style batch functions and observers, not part of any row.
_NO_COLUMNS = ("completion_ids", "trainer_state", "log_metric", "log_extra", "environments")


class RewardColumn:
    """One part of a composed reward in TRL's form: `(prompts, completions, **columns) -> list[float | None]`.

    Made by `for_trl`. All functions of one reward share a scorer, so that a batch is scored once.
    """

    def __init__(self, name: str, scorer: BatchScorer) -> None:
        self.__name__ = name  # what TRL logs it under
        self._scorer = scorer

    def __repr__(self) -> str:
        return f"RewardColumn({self.__name__!r})"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        scores = self._scorer.scores(self.__name__, prompts, completions, columns)
        values = [score.parts[self.__name__] for score in scores]
        log_metric = columns.get("log_metric")
        if log_metric is not None and scores:
            log_metric(f"rewards/{self.__name__}/none_rate", values.count(None) / len(values))
            if self._scorer.reward.on_error == "abstain":
                failed = sum(self.__name__ in score.errors for score in scores)
                log_metric(f"rewards/{self.__name__}/error_rate", failed / len(values))
        return values


class BatchScorer:
    """Scores a batch once for all of its parts, and shows it to the observer once."""

    def __init__(
        self, reward: Weighted, columns: Mapping[str, str], observe: Observer | None, score: Scorer | None
    ) -> None:
        self.reward = reward
        self._columns = dict(columns)
        self._observe = observe
        self._score_with = score
        self._reported: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self._completions: Sequence[Any] | None = None
        self._scores: list[Score] = []
        self._served: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("reward", "_columns", "_observe", "_score_with", "_reported")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def scores(
        self, name: str, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
    ) -> list[Score]:
        # TRL hands the same list to every function of a batch. Holding it keeps its identity from being used again,
        # and a part that asks a second time means a new batch in an old list.
        if completions is not self._completions or name in self._served:
            self._forget()
            self._scores = self._score(prompts, completions, columns)
            self._completions = completions
        self._served.add(name)
        return self._scores

    def _score(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Score]:
        samples = samples_from_columns(prompts, completions, columns, rename=self._columns)
        context = {name: columns[name] for name in _NO_COLUMNS if name in columns}
        score = self._score_with
        scores = self.reward.batch(samples, **context) if score is None else score(samples, context)
        self._report(scores)
        if self._observe is not None:
            self._observe(samples, scores, context)
        return scores

    def _report(self, scores: Sequence[Score]) -> None:
        for score in scores:
            for name, message in score.errors.items():
                if name not in self._reported:
                    self._reported.add(name)
                    _log.warning("%s (it abstains; further failures are only counted)", message)


def for_trl(
    reward: Weighted,
    *,
    columns: Mapping[str, str] | None = None,
    observe: Observer | None = None,
    score: Scorer | None = None,
) -> tuple[list[RewardColumn], list[float]]:
    """The functions and weights for TRL's `reward_funcs` and `reward_weights`, one for each part, under its name.

    The data set's columns are taken in the record layout; `columns` says where one has another name
    (`{"golds": "answer"}`). TRL then logs `rewards/<name>/mean`, and the functions add `rewards/<name>/none_rate`, the
    share of completions for which the part gave no value, and, where the reward abstains on errors,
    `rewards/<name>/error_rate`. `observe(samples, scores, context)` is called once a batch; `context` holds what TRL
    gives beside the columns, such as `trainer_state` and `log_metric`. `score(samples, context)` takes the place of
    `reward.batch`, for a caller that scores elsewhere. The functions pickle when the parts (and the
    observer) do; asynchronous parts are not supported. TRL's own sum of the columns is the reward's total.

    >>> from rewards import weighted
    >>> functions, weights = for_trl(weighted(short=(0.5, lambda sample: float(len(sample.completion) < 9))))
    >>> functions[0].__name__, functions[0](prompts=["Capital?"], completions=["Lisbon"]), weights
    ('short', [1.0], [0.5])
    """
    check_composed(reward, "for_trl")
    scorer = BatchScorer(reward, columns or {}, observe, score)
    return [RewardColumn(name, scorer) for name in reward.parts], list(reward.weights.values())


def samples_from_columns(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    *,
    rename: Mapping[str, str] | None = None,
) -> list[Sample]:
    """One sample for each completion of a TRL batch, from the columns of the data set.

    `rename` maps a field of the record to the column that holds it; a column `extra` with JSON objects holds further
    columns. Raises `RewardError` for a renamed column that is not there, naming those that are.

    >>> samples_from_columns(["Capital?"], ["Lisbon"], {"answer": ["Lisbon"]}, rename={"golds": "answer"})[0].golds
    ('Lisbon',)
    """
    lists = {name: values for name, values in columns.items() if name not in _NO_COLUMNS}
    for field, column in (rename or {}).items():
        if column not in lists:
            raise RewardError(
                f"columns maps {field!r} to {column!r}, but the data set has no such column; it has: "
                f"{', '.join(lists) or 'none'}."
            )
    samples = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = {name: values[i] for name, values in lists.items()}
        row.update({field: row[column] for field, column in (rename or {}).items()})
        if isinstance(row.get("extra"), str):
            row.update(_extra(row))
        row = {name: value for name, value in row.items() if value is not None}  # Arrow's null is an absent value
        samples.append(Sample.from_record(row, completion=completion_text(completion), prompt=prompt))
    return samples


def completion_text(completion: Any) -> str:
    """The text of a completion as TRL hands it over: a string, or the messages of a conversation.

    Chat templates that parse replies split the reasoning off; it is put back in its think block.

    >>> completion_text([{"role": "assistant", "reasoning_content": "so", "content": "Answer: Lisbon"}])
    '<think>so</think>Answer: Lisbon'
    """
    if isinstance(completion, str):
        return completion
    texts = []
    for message in completion:
        if message.get("role") != "assistant":
            continue
        content = message.get("content") or ""
        if not isinstance(content, str):
            content = "".join(block.get("text") or "" for block in content)
        reasoning = message.get("reasoning_content") or message.get("thinking")
        texts.append(f"<think>{reasoning}</think>{content}" if reasoning else content)
    return "\n".join(text for text in texts if text)


def _extra(row: dict[str, Any]) -> dict[str, Any]:
    try:
        extra = json.loads(row["extra"])
    except ValueError:
        return {}
    if not isinstance(extra, dict):
        return {}
    del row["extra"]
    return extra
