"""The callback that watches a run, without a training: what it logs, writes and stops."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewards import Sample, presets
from rlkit.runs import Run
from rlkit.training.alarm_options import Alarms, Probe

REWARD = presets.care()


@pytest.fixture
def state() -> SimpleNamespace:
    return SimpleNamespace(global_step=0, log_history=[])


def made(folder: Path, **options: Any) -> Any:
    from rlkit.training.watch import Watch

    return Watch(Run(folder), Alarms(**{"window_steps": 1, "windows": 1, **options}), REWARD, generations=2)


def batch(watch: Any, answer: str) -> dict[str, float]:
    """Show one batch of two groups; the figures that are logged for it."""
    samples = [
        Sample(id=row, task="care", source="s", golds="right", context=[f"{row} is a town far away."],
               completion=f"<think><retrieval>{row} is a town</retrieval></think> Answer: {answer}")
        for row in ("Ulm", "Ulm", "Rome", "Rome")
    ]  # fmt: skip
    logged: dict[str, float] = {}
    watch.observe(samples, REWARD.batch(samples), {"log_metric": logged.__setitem__})
    return logged


def log(watch: Any, state: Any, **figures: float) -> SimpleNamespace:
    state.global_step += 1
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    watch.on_log(None, state, control, {name.replace("__", "/"): value for name, value in figures.items()})
    return control


def test_an_alarm_is_written_with_figures_and_three_completions_and_said_aloud(
    tmp_path: Path, state: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watch = made(tmp_path)
    assert batch(watch, "wrong")["watch/correct"] == 0.0
    log(watch, state, reward=0.2, watch__correct=0.5)
    assert not (tmp_path / "alarms.jsonl").exists()
    with caplog.at_level(logging.WARNING):
        control = log(watch, state, reward=0.9, watch__correct=0.4)
    assert "alarm at step 2: reward_without_correctness: the reward rose from 0.2 to 0.9" in caplog.text
    (alarm,) = map(json.loads, (tmp_path / "alarms.jsonl").read_text().splitlines())
    assert (alarm["step"], alarm["kind"], alarm["now"]["watch/correct"]) == (2, "reward_without_correctness", 0.4)
    assert len(alarm["completions"]) == 3
    assert {"id", "completion", "total", "correct"} <= set(alarm["completions"][0])
    assert not control.should_training_stop
    assert watch.outcome == {}


def test_the_first_alarm_stops_the_run_where_the_config_says_so(tmp_path: Path, state: Any) -> None:
    watch = made(tmp_path, stop=True)
    assert not log(watch, state, reward=0.2, watch__correct=0.5).should_training_stop
    control = log(watch, state, reward=0.9, watch__correct=0.4)
    assert control.should_training_stop
    assert control.should_save
    assert watch.outcome == {"stopped": "reward_without_correctness"}


def test_a_resumed_run_knows_what_it_has_logged(tmp_path: Path, state: Any) -> None:
    watch = made(tmp_path)
    state.log_history = [{"step": 1, "reward": 0.2, "watch/correct": 0.5}, {"step": 1, "train_runtime": 3.0}]
    state.global_step = 1
    watch.on_train_begin(None, state, SimpleNamespace())
    log(watch, state, reward=0.9, watch__correct=0.4)
    assert len((tmp_path / "alarms.jsonl").read_text().splitlines()) == 1


def test_held_out_rows_are_measured_and_not_shown_as_training(tmp_path: Path) -> None:
    watch = made(tmp_path, probe=Probe({"format": "records", "path": "x"}, rows=8, every_steps=1))
    assert watch.probing() == {
        "eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "num_generations_eval": 1,
    }  # fmt: skip
    watch.held_out = True
    logged = batch(watch, "right")
    assert logged["watch/correct"] == 1.0
    assert "watch/equal_groups" not in logged
    assert watch.batch == []
    watch.held_out = False
    assert "watch/equal_groups" in batch(watch, "right")
    assert len(watch.batch) == 4


def test_a_resumed_run_asks_its_held_out_rows_no_second_time_at_the_start(tmp_path: Path) -> None:
    run = Run(tmp_path)
    (tmp_path / "checkpoint-4").mkdir()
    run.mark_complete(tmp_path / "checkpoint-4", {})
    watch = made(tmp_path, probe=Probe({"format": "records", "path": "x"}, every_steps=1))
    assert watch.probing()["eval_on_start"] is False
    assert made(tmp_path).probing() == {}
