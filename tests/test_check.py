"""`rlkit check` finds before training what would spoil it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit import cli
from rlkit.check import check
from rlkit.config import load_config
from rlkit.data.synthetic import generate
from rlkit.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[1] / "configs"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(rows: list[dict[str, Any]] | None = None, **changes: Any) -> str:
    rows = list(map(dict, generate("easy", rows=12))) if rows is None else rows
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = {
        "method": "grpo",
        "scratch": {"model_type": "qwen2"},
        "sources": {"only": {"format": "records", "path": "rows.jsonl"}},
        "rewards": "care",
        "train": {"max_steps": 4, "num_generations": 4},
    }
    Path("c.yaml").write_text(yaml.safe_dump(values | changes), encoding="utf-8")
    return "c.yaml"


def test_a_sound_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", config()]) == 0
    shown = capsys.readouterr().out
    assert "12 of 12 earn the maximum" in shown
    assert "2 prompts x 4 = 8 completions a round, 4 rounds, 4 optimizer steps" in shown
    assert "8 (8 distinct of 12)" in shown
    assert not Path("runs").exists()  # looking leaves nothing behind


def test_a_row_that_cannot_be_graded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict(next(generate("easy", rows=1)), id="odd", evidence=["Nobody said this sentence."])
    path = config([row, *map(dict, generate("easy", rows=3))])
    assert cli.main(["check", path]) == 0
    shown = capsys.readouterr().out
    assert "3 of 4 earn the maximum" in shown
    assert "only: row odd: grounding 0 of 1" in shown
    assert "1 of 4 rows: the gold answer does not earn the maximum" in " ".join(shown.split())
    assert cli.main(["check", path, "--strict"]) == 1


def test_lengths_against_budget_and_positions(capsys: pytest.CaptureFixture[str]) -> None:
    path = config(prompt={"max_tokens": 20}, scratch={"max_position_embeddings": 100})
    found = check(load_config(path))
    assert found.lengths["only"]["over"] == 12
    assert any("12 prompts have more than prompt.max_tokens = 20" in warning for warning in found.warnings)
    assert any("completions of up to 512 do not fit into the model's 100 positions" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"num_generations": 3}}, "train.num_generations: 3 does not divide the 8 completions"),
        ({"rewards": {"accuracy": {"use": "token_f2", "weight": 1}}}, "Did you mean 'token_f1'?"),
        ({"rewards": {"accuracy": {"use": "token_f1", "weight": 0}}}, "zero"),
        ({"rewards": {"accuracy": {"use": "token_f1", "weight": float("nan")}}}, "finite"),
        ({"curriculum": {"kind": "linear", "start": {"onyl": 1}, "end": {"only": 1}}}, "Did you mean 'only'?"),
        ({"sources": {"only": {"format": "records", "path": "row.jsonl"}}}, "Did you mean 'rows.jsonl'?"),
        ({"sources": {"only": {"format": "record", "path": "rows.jsonl"}}}, "Did you mean 'records'?"),
    ],
)
def test_what_would_stop_the_run_stops_the_check(
    changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", config(**changes)]) == 2
    assert message in capsys.readouterr().err


def test_more_than_one_source_needs_a_curriculum() -> None:
    source = {"format": "records", "path": "rows.jsonl"}
    with pytest.raises(ConfigError, match="curriculum: missing"):
        check(load_config(config(sources={"a": source, "b": source})))


def test_missing_column_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict(next(generate("easy", rows=1)))
    row["answers"] = row.pop("golds")
    assert cli.main(["check", config([row])]) == 2
    error = capsys.readouterr().err
    assert "rows.jsonl:1" in error
    assert "golds" in error
    assert "answers" in error


def test_check_needs_no_torch() -> None:
    code = "import sys; from rlkit import cli; cli.main(['check', 'c.yaml']); print('torch' in sys.modules)"
    config()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("*.yaml")), ids=lambda path: str(path.relative_to(SHIPPED)))
def test_every_shipped_config(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line is the command that runs it; keys, rewards, curriculum and arithmetic hold for its processes."""
    from curricula import plan
    from rewards.config import from_config
    from rlkit.batches import batches
    from rlkit.sources import schedule_of

    monkeypatch.chdir(SHIPPED.parent)
    command = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split()
    assert str(path.relative_to(SHIPPED.parent)) in command
    config = load_config(path)
    processes = int(command[command.index("--num_gpus") + 1]) if "--num_gpus" in command else 1
    sizes = dict.fromkeys(config.sources, 50_000)
    sums = batches(config, processes, sum(sizes.values()))
    assert (
        len(plan(schedule_of(config), sizes, sums.rounds, sums.rows_per_round, seed=1))
        == sums.rounds * sums.rows_per_round
    )
    if config.rewards is not None:
        from_config(config.to_dict()["rewards"])
    if config.train.get("deepspeed"):
        json.loads(Path(config.train["deepspeed"]).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("quickstart/hotpot*.yaml")), ids=lambda path: path.stem)
def test_configs_on_real_data(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(SHIPPED.parent)
    if not Path("../shared/data").is_dir():
        pytest.skip("the real data slices are not beside the project")
    assert cli.main(["check", str(path), "train.output_dir=runs/none"]) == 0
    assert "120 of 120 earn the maximum" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("deepspeed/*.json")), ids=lambda path: path.stem)
def test_deepspeed_configs_leave_sizes_to_the_trainer(path: Path) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    for key in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert values[key] == "auto"
    if values["zero_optimization"]["stage"] == 3:
        assert values["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
