"""Where the time of a step goes, with a clock that moves when it is told to; and what is kept of completions."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewards import Sample, Score
from rlkit.runs import Run
from rlkit.training.sample_log import SampleLog, lines
from rlkit.training.scoring_options import Scoring


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    from rlkit.training import times

    moved = SimpleNamespace(now=0.0)
    monkeypatch.setattr(times.time, "perf_counter", lambda: moved.now)
    return moved


def logged(times: Any, **logs: float) -> dict[str, float]:
    given = {"loss": 0.0, **logs}
    times.on_log(None, SimpleNamespace(is_world_process_zero=True), None, given)
    return {name: value for name, value in given.items() if name.startswith("time/")}


def step(times: Any, clock: Any, generation: float, rewards: float, *updates: float) -> None:
    times.on_step_begin(None, None, None)
    if generation:
        clock.now += generation
        times.generated()
        clock.now += rewards
        times.scored()
    for update in updates[:-1]:
        clock.now += update
        times.on_substep_end(None, None, None)
    clock.now += updates[-1]
    times.on_step_end(None, None, None)


def test_every_phase_has_its_seconds_a_step(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    from rlkit.training.times import Times

    times = Times(Scoring())
    assert logged(times) == {}  # before the first step
    step(times, clock, 6.0, 1.0, 1.0, 2.0)  # two batches a step
    step(times, clock, 0.0, 0.0, 2.0)  # a round feeds two steps
    clock.now += 100  # a checkpoint
    times.generated()  # held-out rows, between steps
    clock.now += 100
    times.scored()
    assert logged(times, eval_loss=1.0) == {}
    assert logged(times) == {
        "time/generation": 3.0, "time/rewards": 0.5, "time/update": 2.5, "time/rewards_share": round(1 / 12, 6),
    }  # fmt: skip
    assert logged(times) == {}
    step(times, clock, 1.0, 2.0, 1.0)
    with caplog.at_level(logging.INFO):
        assert logged(times)["time/rewards_share"] == 0.5
        step(times, clock, 1.0, 2.0, 1.0)
        logged(times)
    assert caplog.text.count("rewards take 2.0 s, 50 % of a step; scoring: {workers: N}") == 1


def test_nobody_is_told_of_short_rewards_or_of_workers_that_are_there(clock: Any, caplog: Any) -> None:
    from rlkit.training.times import Times

    with caplog.at_level(logging.INFO):
        for options, rewards in ((Scoring(workers=2), 9.0), (Scoring(), 0.9)):
            times = Times(options)
            step(times, clock, 1.0, rewards, 1.0)
            logged(times)
    assert caplog.text == ""


def test_trackers_get_what_callbacks_add_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.integrations import integration_utils

    from rlkit.training.common import trackers_last
    from rlkit.training.times import Times

    tracked: list[set[str]] = []

    class Tracker(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
            tracked.append(set(logs or ()))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    args = TrainingArguments(output_dir=str(tmp_path), report_to=["tensorboard"], use_cpu=True)
    times = Times(Scoring())
    trainer = Trainer(model=torch.nn.Linear(1, 1), args=args, callbacks=[times])
    trackers_last(trainer)
    times._steps = 1
    trainer.log({"loss": 0.5})
    assert len(tracked) == 1
    assert {"loss", "time/generation", "time/rewards", "time/update", "time/rewards_share"} <= tracked[0]


def test_lines_hold_their_own_row_and_completion() -> None:
    rows = [
        Sample(id=row, context=[{"title": "T", "text": f"{row} é"}], golds="x", prompt=[{"role": "user", "content": row}],
               columns={"step": "of the user", "level": 3}, completion=f"{row}{i}", time_range=(None, "2024"))
        for row in ("p", "q") for i in range(2)
    ]  # fmt: skip
    found = [json.loads(line) for line in lines(7, rows, [Score(float(i), {"a": None}, 1.0) for i in range(4)])]
    assert [(row["id"], row["completion"], row["score"]["total"]) for row in found] == [
        ("p", "p0", 0.0), ("p", "p1", 1.0), ("q", "q0", 2.0), ("q", "q1", 3.0),
    ]  # fmt: skip
    for row in found:
        assert row["context"] == [{"text": f"{row['id']} é", "title": "T"}]
        assert row["prompt"][0]["content"] == row["id"]
        assert (row["step"], row["level"], row["time_range"]) == (7, 3, [None, "2024"])


def test_so_many_completions_a_batch_are_kept(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    context = {"trainer_state": SimpleNamespace(global_step=4), "log_metric": lambda *pair: seen.append(pair)}
    batch = [Sample(id=f"q{i}", source="a" if i else "b", completion="x") for i in range(3)]
    SampleLog(Run(tmp_path), 2)(batch, [Score(1.0, {}, 1.0), Score(None, {}, 0.0), Score(0.5, {}, 1.0)], context)
    assert [json.loads(line)["id"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()] == ["q0", "q1"]
    assert seen.count(("sources/b/share", 1.0)) == 1
    assert [value for name, value in seen if name == "sources/a/reward"] == [0.5]
