"""From questions and completions to scored examples, over several processes where that pays.

Knows metrics as functions of a sample; knows no model and no table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rewards.errors import RewardError, RowError
from rewards.sample import Sample
from rlkit.errors import DataError
from rlkit.evaluation.metrics import Metric
from rlkit.generation.model import Reply
from rlkit.streams import cores

POOL_ROWS = 4_000  # below this a pool takes longer to start than the rows take to score
CHUNK_ROWS = 50  # a row may hold a memory of hundreds of sessions

Values = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """A record under a context, and what was answered."""

    suite: str
    subset: str
    context: str
    record: Mapping[str, Any]
    reply: Reply


def score(metrics: Mapping[str, Metric], record: Mapping[str, Any], completion: str) -> Values:
    """What a completion is worth in each metric; raises `DataError` with the row's id where one fails.

    >>> from rlkit.evaluation.metrics import metrics_named
    >>> score(metrics_named(["em"]), {"id": "q1", "golds": ["Lisbon"]}, "Lisbon.")
    {'em': 1.0}
    """
    try:
        sample = Sample.from_record(record, completion=completion)
        return {name: _plain(metric(sample)) for name, metric in metrics.items()}
    except (RowError, RewardError) as error:
        raise DataError(f"row {record.get('id')}: {error}") from error


def examples(
    answered: Iterable[Answered], metrics: Mapping[str, Mapping[str, Metric]], workers: int = 1
) -> Iterator[dict[str, Any]]:
    """The lines of `examples.jsonl`, in order, a few chunks of rows at a time; `metrics` by suite."""
    rows = iter(answered)
    if workers == 1:
        for row in rows:
            yield _example(row, score(metrics[row.suite], row.record, row.reply.text))
        return
    waiting: deque[tuple[list[Answered], Future[list[Values]]]] = deque()
    given = {suite: dict(named) for suite, named in metrics.items()}
    with ProcessPoolExecutor(workers, initializer=_set_metrics, initargs=(given,)) as pool:
        try:
            while chunk := list(islice(rows, CHUNK_ROWS)):
                waiting.append((chunk, pool.submit(_score_chunk, [(a.suite, a.record, a.reply.text) for a in chunk])))
                if len(waiting) >= 2 * workers:
                    yield from _finished(*waiting.popleft())
            while waiting:
                yield from _finished(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()


def workers_for(rows: int) -> int:
    """The processes that pay for so many rows."""
    return 1 if rows < POOL_ROWS else cores()


def _finished(chunk: list[Answered], future: Future[list[Values]]) -> Iterator[dict[str, Any]]:
    for row, values in zip(chunk, future.result(), strict=True):
        yield _example(row, values)


def _example(row: Answered, values: Values) -> dict[str, Any]:
    line: dict[str, Any] = {"suite": row.suite, "subset": row.subset, "id": row.record["id"], "context": row.context}
    if row.record.get("pair") is not None:
        line["pair"] = row.record["pair"]
    reply = row.reply
    told = {
        "completion": reply.text,
        "finish_reason": reply.finish_reason,
        "completion_tokens": reply.completion_tokens,
    }
    return {**line, "values": values, **told, "record": dict(row.record)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_metrics: Mapping[str, Mapping[str, Metric]] = {}  # a process is given them once, not with every chunk


def _set_metrics(metrics: Mapping[str, Mapping[str, Metric]]) -> None:
    global _metrics
    _metrics = metrics


def _score_chunk(rows: list[tuple[str, Mapping[str, Any], str]]) -> list[Values]:
    return [score(_metrics[suite], record, text) for suite, record, text in rows]
