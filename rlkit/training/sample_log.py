"""What a run's completions earned, on file: samples.jsonl, and share and reward of each source in the log.

Knows samples, scores and processes; knows no formula and no trainer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rewards import Sample, Score
from rlkit.plain import plain
from rlkit.runs import Run
from rlkit.training import processes

_ROW = ("id", "task", "kind", "source", "question", "context", "golds", "evidence", "sessions")
_OURS = ("step", "completion", "score")  # a user's column of this name gives way


class SampleLog:
    """Sees every scored batch: logs share and reward per source, and writes completions to samples.jsonl.

    At most `per_step` completions a batch of all processes are written, whole groups first: a batch of long contexts
    would otherwise fill the disk.
    """

    def __init__(self, run: Run, per_step: int) -> None:
        self.run, self.per_step = run, per_step

    def __call__(self, samples: Sequence[Sample], scores: Sequence[Score], context: dict[str, Any]) -> None:
        from accelerate.utils import gather_object

        step = context["trainer_state"].global_step + 1  # the optimizer step that these completions feed
        share = -(-self.per_step // processes.world_size())
        mine = list(lines(step, samples[:share], scores[:share]))
        gathered = gather_object([([s.source for s in samples], mine)])  # one message, because each costs all of them
        log = context.get("log_metric")
        if log is not None:
            names = sorted({name for sources, _ in gathered for name in sources})
            for sample, score in zip(samples, scores, strict=True):
                for name in names:
                    log(f"sources/{name}/share", float(sample.source == name))
                if score.total is not None:
                    log(f"sources/{sample.source}/reward", score.total)
        if processes.rank() == 0:
            written = [line for _, part in gathered for line in part][: self.per_step]
            with self.run.samples.open("a", encoding="utf-8") as file:
                file.write("".join(written))  # in one write, so that a killed process leaves at most one cut line


def lines(step: int, samples: Sequence[Sample], scores: Sequence[Score]) -> Iterator[str]:
    """Completions in the record layout, one JSON line each, so that `rlkit score` reads the file as it is.

    >>> print(*lines(3, [Sample(id="q1", completion="Rome")], [Score(1.0, {"a": 1.0}, 1.0)]))
    {"id": "q1", "prompt": "", "step": 3, "completion": "Rome", "score": {"total": 1.0, "maximum": 1.0, "parts": {"a": 1.0}}}
    <BLANKLINE>
    """
    before: Sample | None = None
    row = ""
    for sample, score in zip(samples, scores, strict=True):
        # A long context is made into text once for all completions of its row.
        if before is None or not _same_row(before, sample):
            before, row = sample, json.dumps(_row(sample), ensure_ascii=False)[:-1]
        earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
        rest = {"step": step, "completion": sample.completion, "score": earned}
        yield f"{row}, {json.dumps(rest, ensure_ascii=False)[1:]}\n"


def _row(sample: Sample) -> dict[str, Any]:
    found = {name: value for name, value in sample.columns.items() if name not in _OURS}
    found.update({name: plain(getattr(sample, name)) for name in _ROW if getattr(sample, name)})
    if sample.time_range is not None:
        found["time_range"] = list(sample.time_range)
    if sample.asked_at is not None:
        found["asked_at"] = sample.asked_at
    return {**found, "prompt": sample.prompt}


def _same_row(one: Sample, other: Sample) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in (*_ROW, "time_range", "asked_at", "prompt", "columns")
    )
