"""The section `alarms:` in a config, in `rlkit check`, and the held-out rows that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewards.errors import RewardError
from rlkit.check import check
from rlkit.config import Config, differences, parse_config
from rlkit.data.synthetic import generate
from rlkit.errors import ConfigError
from rlkit.held_out import held_out_sources
from rlkit.sources import load_sources


def config(folder: Path, **sections: Any) -> Config:
    for name, split in (("train", "train"), ("other", "test")):
        rows = [json.dumps(row) for row in generate("easy", rows=12, seed=3, split=split)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return parse_config({
        "method": "grpo", "scratch": {"model_type": "qwen2"}, "rewards": "care",
        "sources": {"s": {"format": "records", "path": str(folder / "train.jsonl")}},
        "train": {"max_steps": 100, "output_dir": str(folder / "run")}, **sections,
    })  # fmt: skip


def probe(folder: Path, name: str, **options: Any) -> dict[str, Any]:
    return {"probe": {"source": {"format": "records", "path": str(folder / f"{name}.jsonl")}, **options}}


def test_a_grpo_run_is_watched_unless_the_config_says_false(tmp_path: Path) -> None:
    watched = config(tmp_path).watched
    assert watched is not None
    assert watched.probe is None
    assert config(tmp_path, alarms=False).watched is None
    assert "not watched" in check(config(tmp_path, alarms=False)).watched


def test_the_section_is_saved_with_the_run_and_counts_as_a_difference(tmp_path: Path) -> None:
    one, other = (config(tmp_path, alarms={**probe(tmp_path, "other"), "windows": n}) for n in (2, 3))
    assert parse_config(one.to_dict()).watched == one.watched
    assert differences(one, other) == ["alarms.windows: 2 -> 3"]


def test_check_says_how_a_run_will_be_watched(tmp_path: Path) -> None:
    found = check(config(tmp_path, alarms={**probe(tmp_path, "other", rows=64, every_steps=20), "stop": True}))
    assert found.watched == (
        "judged every 25 steps, right answers by exact_match, for Memory-T1 temporal_answer on 12 held-out rows every 20 "
        "steps; the first alarm stops the run"
    )
    short = check(config(tmp_path, alarms={"window_steps": 50, "correct": {"use": "token_f1"}})).watched
    assert short == (
        "judged every 50 steps, right answers by token_f1 on the training rows; alarms.probe names held-out ones; with 100 "
        "steps no rise can be seen, which takes 150"
    )


def test_rows_that_are_trained_on_are_no_probe(tmp_path: Path) -> None:
    made = config(tmp_path, alarms=probe(tmp_path, "train"))
    with pytest.raises(ConfigError, match=r"alarms.probe.source: 12 of its rows are trained on as well, in source s"):
        check(made)
    other = config(tmp_path, alarms=probe(tmp_path, "other"))
    found = held_out_sources(other, load_sources(other))
    assert found is not None
    assert found.sizes() == {"probe": 12}


@pytest.mark.parametrize(
    ("alarms", "error", "message"),
    [
        ({"correct": {"use": "token_f2"}}, RewardError, "alarms.correct.use: no built-in reward 'token_f2'"),
        ({"probe": {"source": {"format": "record", "path": "x"}}}, ConfigError, "alarms.probe.source"),
        ({"window": 3}, ConfigError, "config: alarms.window: no such key"),
    ],
)
def test_wrong_options_are_found_before_a_model_is_held(
    tmp_path: Path, alarms: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        check(config(tmp_path, alarms=alarms))
    assert message in str(caught.value)


def test_sft_has_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="alarms: given, but method sft has no reward to watch"):
        config(tmp_path, method="sft", rewards=None, alarms={"windows": 3})
