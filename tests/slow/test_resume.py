"""Killed at any moment and started again with the same command, a run ends as if it had never stopped."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import pytest
from faults import SAME, cold, differences, last_step, taken, until
from runs_for_real import finish, lines, write_config

from rlkit.training.stopping import EXIT_CODE

pytestmark = pytest.mark.slow


def test_a_killed_run_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    train = (sys.executable, "-m", "rlkit", "train")
    whole, killed = write_config(tmp_path, "whole"), write_config(tmp_path, "killed")
    finish(tmp_path, *train, str(whole))
    kills = random.Random(5)
    # Killed before the first checkpoint; told to stop somewhere behind it, where no checkpoint is due.
    for kill_at, number, code in ((1, signal.SIGKILL, -9), (kills.choice((3, 5)), signal.SIGTERM, EXIT_CODE)):
        launch, run = cold(tmp_path, *train, str(killed)), tmp_path / "killed"
        taken(launch, run)
        until(lambda: last_step(run) >= kill_at or not launch.runs(), f"step {kill_at}")  # noqa: B023
        os.kill(launch.pid, number)
        assert launch.wait() == code, launch.output()
        assert not (tmp_path / "killed" / "done.json").exists(), "the run was over before it could be killed"
    assert "by SIGTERM; the same command goes on from there" in launch.output()
    resumed = finish(tmp_path, *train, str(killed), "--resume")
    assert "grpo 8/8" in resumed
    assert "grpo 3/8" not in resumed  # it went on from the checkpoint that it had made when it was told to stop
    assert differences(tmp_path / "whole", tmp_path / "killed") == SAME
    assert [row["step"] for row in lines(tmp_path / "whole" / "metrics.jsonl")] == list(range(1, 9))

    again = finish(tmp_path, *train, str(killed), expect=2)
    assert "this run is complete and is not overwritten" in again
    other = finish(tmp_path, *train, str(killed), "train.seed=8", expect=2)
    assert "train.seed: 7 -> 8" in other
    assert "Traceback" not in again + other


def test_the_log_tells_what_happened(tmp_path: Path) -> None:
    """Every part, every source and the planned shares stand in the log, and the parts equal the offline scores."""
    finish(tmp_path, sys.executable, "-m", "rlkit", "train", str(write_config(tmp_path)))
    run = tmp_path / "run"
    metrics, samples = lines(run / "metrics.jsonl"), lines(run / "samples.jsonl")
    for row in metrics:
        for part in ("accuracy", "format", "grounding", "letters", "short"):
            assert f"rewards/{part}/mean" in row
            assert 0 <= row[f"rewards/{part}/none_rate"] <= 1
        here = [sample for sample in samples if sample["step"] == row["step"]]
        assert len(here) == 8
        for source in ("simple", "hard"):
            of_source = [sample["score"]["total"] for sample in here if sample["source"] == source]
            assert row.get(f"sources/{source}/share", 0) == pytest.approx(len(of_source) / 8)
            if of_source:
                assert row[f"sources/{source}/reward"] == pytest.approx(sum(of_source) / len(of_source))
        assert {sample["source"] for sample in here if "-easy-" in sample["id"]} <= {"simple"}
        assert row["reward"] == pytest.approx(sum(sample["score"]["total"] for sample in here) / 8)
        given = [s["score"]["parts"]["short"] for s in here]
        assert row["rewards/short/none_rate"] == pytest.approx(given.count(None) / 8)
    assert 0 < sum(row["rewards/short/none_rate"] for row in metrics) < len(metrics)
    # the linear curriculum, 2 prompts a step: cumulative counts stay within one row of the formula
    hard = [2 * 0.75 * t / 8 for t in range(8)]
    done = 0.0
    for step, row in enumerate(metrics):
        done += 2 * row.get("sources/hard/share", 0)
        assert abs(done - sum(hard[: step + 1])) < 1

    scored = tmp_path / "scored.jsonl"
    finish(
        tmp_path, sys.executable, "-m", "rlkit", "score", str(run / "samples.jsonl"),
        "--rewards", str(run / "config.yaml"), "--out", str(scored),
    )  # fmt: skip
    offline = [row["score"]["parts"] for row in lines(scored)]
    assert offline == [sample["score"]["parts"] for sample in samples]
