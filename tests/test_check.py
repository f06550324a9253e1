"""`rlkit check` finds before training what would spoil it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewards import RewardError
from rlkit import cli
from rlkit.check import check
from rlkit.config import load_config
from rlkit.data.synthetic import generate
from rlkit.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[1] / "configs"
TRAINED = [path for folder in ("care", "memory_t1", "quickstart") for path in sorted((SHIPPED / folder).glob("*.yaml"))]


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


def test_what_was_found_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", config(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["gold_rows"], found["gold_short_rows"]) == ({"only": 12}, 12, 0)
    assert found["batches"]["steps"] == 4


def test_a_row_that_cannot_be_graded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict(next(generate("easy", rows=1)), id="odd", evidence=["Nobody said this sentence."])
    path = config([row, *map(dict, generate("easy", rows=3))])
    assert cli.main(["check", path]) == 0
    shown = capsys.readouterr().out
    assert "3 of 4 earn the maximum" in shown
    assert "only: row odd: grounding 0 of 1" in shown
    assert "1 of 4 rows: the gold answer does not earn the maximum" in " ".join(shown.split())
    assert cli.main(["check", path, "--strict"]) == 1


def test_a_batch_function_sees_what_training_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Message lists, as the prompts are messages, and more than one row, so that a wrong count is found here."""
    Path("mine.py").write_text(
        "def good(prompts, completions, golds, **columns):\n"
        "    return [float(gold[0] in text[0]['content']) for gold, text in zip(golds, completions)]\n"
        "def short(prompts, completions, **columns):\n"
        "    return [1.0]\n"
    )
    monkeypatch.syspath_prepend(".")
    rewards = {"mine": {"use": "mine:good", "weight": 1.0}}
    assert check(load_config(config(rewards=rewards))).gold_short_rows == 0
    with pytest.raises(RewardError, match="mine"):
        check(load_config(config(rewards={"mine": {"use": "mine:short", "weight": 1.0}})))


def test_options_may_stand_between_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", config(), "--limit", "3", "train.max_steps=2"]) == 0
    shown = capsys.readouterr().out
    assert "3 of 3 earn the maximum" in shown
    assert "2 optimizer steps" in shown
    assert cli.main(["check", config(), "--limit", "0"]) == 2
    assert cli.main(["check", config(), "--processes", "0"]) == 2


def test_another_number_of_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", config(), "--processes", "2"]) == 0
    assert "4 prompts x 4 = 16 completions a round" in capsys.readouterr().out


def test_a_run_folder_that_refuses_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/c").mkdir(parents=True)
    Path("runs/c/thesis.txt").write_text("mine")
    assert cli.main(["check", config()]) == 2
    assert "holds files but no config.yaml" in capsys.readouterr().err


def test_sft_rows_need_completions(capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load(Path(config()).read_text())
    del values["rewards"], values["train"]["num_generations"]
    Path("c.yaml").write_text(yaml.safe_dump(values | {"method": "sft"}))
    assert cli.main(["check", "c.yaml"]) == 2
    assert "has no completion, so SFT has nothing to learn from it" in capsys.readouterr().err


def test_with_the_tokenizer_at_hand_the_plan_is_trainings_own(capsys: pytest.CaptureFixture[str]) -> None:
    from rlkit.scratch import scratch_model

    rows = [dict(row) for level in ("easy", "long") for row in generate(level, rows=6)]
    texts = [passage["text"] for row in rows for passage in row["context"]]
    shape = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 400,
    }
    scratch_model(Path("model"), {**shape, "num_key_value_heads": 1}, texts, seed=1)
    for row in rows[6:]:
        row["evidence"] = []  # so that no passage may be dropped
    values = yaml.safe_load(Path(config(rows)).read_text())
    del values["scratch"]
    values |= {"model": {"model_name_or_path": "model"}, "prompt": {"max_tokens": 120, "system": None}}
    values["train"] = {"num_generations": 4, "num_train_epochs": 1}
    Path("c.yaml").write_text(yaml.safe_dump(values))
    found = check(load_config("c.yaml"))
    assert found.counted_in == "tokens"
    assert any("only: 6 of 12 rows are left out" in warning for warning in found.warnings)
    assert found.batches is not None
    assert found.batches.rounds == 3  # 6 rows, 2 prompts a round
    assert found.gold_rows == 6


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


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: str(path.relative_to(SHIPPED)))
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
