"""`rlkit watch`: what a run's journals say, whatever state it is in, and nothing that steers a terminal."""

from __future__ import annotations

import json

import pytest
import yaml

from rlkit.cli import main
from rlkit.runs import Run, hold, release

CONFIG = {
    "method": "grpo",
    "scratch": {"model_type": "qwen2"},
    "sources": {name: {"format": "records", "path": "x"} for name in ("easy", "hard")},
    "curriculum": {"kind": "linear", "start": {"easy": 1, "hard": 0}, "end": {"easy": 0.5, "hard": 0.5}},
    "rewards": "care",
    "train": {"max_steps": 40},
}


def line(step, **more):
    times = {"time/generation": 1.0, "time/rewards": 0.5, "time/update": 0.5}
    shares = {"sources/easy/share": 0.75, "sources/hard/share": 0.25, "sources/easy/reward": 0.5}
    parts = {"rewards/accuracy/mean": step / 40, "rewards/accuracy/none_rate": 0.25}
    return {"step": step, "reward": step / 20, **times, **shares, **parts, **more}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line(step)) + "\n" for step in range(1, 21)) + '{"step": 2'
    )
    score = {"total": 0.5, "maximum": 1.0, "parts": {}}
    rows = [{"step": n, "question": f"q{n}", "completion": "\x1b[2J[bold]x", "score": score} for n in range(1, 4)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def seen(capsys, run, *more):
    assert main(["watch", str(run), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_seen_of_a_run_that_trains(run, capsys):
    hold(Run(run))
    try:
        look = seen(capsys, run)
    finally:
        release(Run(run))
    assert (look["state"], look["step"], look["steps"], look["seconds"], look["left_seconds"]) == (
        "training",
        20,
        40,
        2.0,
        40.0,
    )
    assert look["phases"] == {"generation": 0.5, "rewards": 0.25, "update": 0.25}
    total, accuracy = look["rewards"]
    assert (total["name"], total["now"]) == ("total", 1.0)
    assert accuracy["name"] == "accuracy"
    assert accuracy["recent"] == pytest.approx(sum(range(11, 21)) / 40 / 10)
    assert accuracy["none_rate"] == 0.25
    easy, hard = look["sources"]
    assert (easy["drawn"], hard["drawn"]) == (0.75, 0.25)
    assert easy["planned"] == pytest.approx(1 - 0.5 * 19 / 40)
    assert (easy["reward"], hard["reward"]) == (0.5, None)
    assert [one["question"] for one in look["completions"]] == ["q2", "q3"]


def test_the_state_of_a_run_that_does_not_train(run, capsys):
    look = seen(capsys, run, "--completions", "0")
    assert look["state"].startswith("not running")
    assert look["left_seconds"] is None
    assert look["completions"] == []
    (run / "done.json").write_text(json.dumps({"steps": 20, "stopped": "part_saturated"}))
    assert seen(capsys, run)["state"] == "stopped by alarm part_saturated"


def test_a_run_that_has_only_begun(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    look = seen(capsys, tmp_path)
    assert (look["step"], look["steps"], look["seconds"], look["rewards"]) == (0, 40, None, [])
    assert main(["watch", str(tmp_path)]) == 0


def test_nothing_steers_the_terminal_and_markup_is_text(run, capsys):
    assert main(["watch", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[bold]x" in printed
    assert "▁" in printed


def test_epochs_tell_the_steps_where_the_config_does_not(run, capsys):
    (run / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "train": {"num_train_epochs": 2}}))
    (run / "metrics.jsonl").write_text(json.dumps(line(10, epoch=0.5)) + "\n")
    assert seen(capsys, run)["steps"] == 40


def test_what_is_no_run_is_said(run, capsys):
    assert main(["watch", str(run.parent / "rnu")]) == 2
    assert "Did you mean 'run'?" in capsys.readouterr().err
    assert main(["watch", str(run), "--every", "0"]) == 2
