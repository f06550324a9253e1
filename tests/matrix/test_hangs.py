"""What a reward can do to two processes, and how both end: with one message, and nobody left waiting."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lone_ranks import REWARD, both, write_bad_config
from runs_for_real import environment, finish, lines

pytestmark = pytest.mark.matrix


@pytest.mark.parametrize("deepspeed", [True, False], ids=["deepspeed", "plain"])
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("raises", "[process 1] error: reward 'bad' (bad) failed on row {row}: KeyError: 'no such town'"),
        ("all raise", "error: reward 'bad' (bad) failed on row {row}: KeyError: 'no such town'"),
        (
            "sleeps",
            "[process 1] error: reward 'bad' (bad) failed on row {row}: 4 completions were not scored within 3 s",
        ),
        ("swallows", "[process 1] error: reward 'bad' failed on row {row}: 4 completions were not scored within 3 s"),
        ("differs", "error: reward 'bad' (bad) gives "),
        ("random", "when asked again: it is random"),
    ],
)
def test_both_processes_end_with_one_message(tmp_path: Path, bad: str, says: str, deepspeed: bool) -> None:
    first, second = both(write_bad_config(tmp_path, deepspeed=deepspeed), bad)
    assert (first.code, second.code) == (2, 2)
    said = first.printed + second.printed
    assert said.count("error: ") == 1, said
    before, _, after = says.partition("{row}")
    assert before in said
    assert after in said
    assert ("most recent call" in said) == (bad == "swallows")  # where it is, as nothing could interrupt it
    if "{row}" in says:
        assert before + "synthetic-train-" in said


def test_the_measure_of_the_alarms_is_under_the_same_rules(tmp_path: Path) -> None:
    rewards = {"accuracy": {"use": "token_f1", "weight": 1.0}}
    config = write_bad_config(tmp_path, rewards=rewards, alarms={"correct": {"use": "bad_reward:bad"}})
    first, second = both(config, "sleeps")
    assert (first.code, second.code) == (2, 2)
    assert "[process 1] error: reward 'correct' (bad) failed on row" in second.printed
    assert "error: " not in first.printed


def own_code(folder: Path, *codes: str) -> tuple[str, str]:
    """Folders with one version of bad_reward.py each, in the place of that in the working directory, which both see."""
    (folder / "bad_reward.py").unlink()
    first, second = (folder / f"code{rank}" for rank in (0, 1))
    for place, code in zip((first, second), codes, strict=True):
        place.mkdir()
        (place / "bad_reward.py").write_text(code, encoding="utf-8")
    return str(first), str(second)


def test_other_code_on_one_process_is_seen_at_the_start(tmp_path: Path) -> None:
    config = write_bad_config(tmp_path)
    paths = own_code(tmp_path, REWARD, REWARD.replace("return 0.5", "return 0.25"))
    first, second = both(config, "nothing", "train.max_steps=2", paths=paths)
    assert (first.code, second.code) == (2, 2)
    said = first.printed + second.printed
    assert said.count("error: ") == 1, said
    assert "the reward differs between the processes" in said
    assert "so they would score by different rules" in said


def test_code_that_one_process_lacks_is_named_by_that_one(tmp_path: Path) -> None:
    config = write_bad_config(tmp_path)
    paths = own_code(tmp_path, REWARD, "import no_such_package\n")
    first, second = both(config, "nothing", "train.ddp_timeout=70", paths=paths)
    assert second.code == 2
    assert "[process 1] error: rewards.bad.use: cannot import 'bad_reward'" in second.printed
    assert first.code == 2  # without a launcher nobody can tell it
    assert "[process 0] error: not all 2 processes have come within the 70 s of train.ddp_timeout" in first.printed


def test_worker_processes_of_two_ranks(tmp_path: Path) -> None:
    workers = {"timeout_seconds": 3, "workers": 2}
    first, second = both(write_bad_config(tmp_path / "well", scoring={**workers, "timeout_seconds": 100}), "nothing")
    assert (first.code, second.code) == (0, 0), first.printed + second.printed
    assert all(sample["score"]["parts"]["bad"] == 0.5 for sample in lines(tmp_path / "well/run/samples.jsonl"))
    for bad in ("sleeps", "swallows"):
        first, second = both(write_bad_config(tmp_path / bad, scoring=workers), bad)
        assert (first.code, second.code) == (2, 2)
        said = first.printed + second.printed
        assert said.count("error: ") == 1, said
        assert "4 completions were not scored within 3 s" in second.printed


@pytest.mark.parametrize(
    ("launcher", "code"),
    [
        (("deepspeed", "--num_gpus", "2", "--no_local_rank", "--module", "rlkit"), 2),
        (("torchrun", "--nproc_per_node", "2", "-m", "rlkit"), 1),  # torchrun's own code for a failed process
        ((sys.executable, "-m", "rlkit"), 2),
    ],
    ids=["deepspeed", "torchrun", "alone"],
)
def test_every_launcher_ends(tmp_path: Path, launcher: tuple[str, ...], code: int, monkeypatch: Any) -> None:
    config = write_bad_config(tmp_path, deepspeed=launcher[0] == "deepspeed")
    monkeypatch.setenv("BAD", "sleeps" if len(launcher) > 3 else "all raise")
    if len(launcher) == 3:
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "1")
    assert "BAD" in environment(tmp_path)
    output = finish(tmp_path, *launcher, "train", str(config), expect=code)
    assert output.count(" error: ") + output.count("\nerror: ") == 1, output
    assert "reward 'bad' (bad) failed on row synthetic-train-" in output
