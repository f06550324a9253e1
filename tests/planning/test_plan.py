"""`rlkit plan` says for every shipped config what it takes, what would fit, and what it does not know."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit import cli
from rlkit.planning.choose import shipped_file
from rlkit.planning.zero import Zero

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    path for path in sorted((ROOT / "configs").rglob("*.yaml")) if "\nmethod:" in path.read_text(encoding="utf-8")
]
BIG = [path for path in CONFIGS if path.read_text(encoding="utf-8").startswith("# deepspeed --num_gpus 8 ")]
TINY = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    def refuse(*_: Any) -> None:
        raise AssertionError("a plan opens no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert cli.main(["plan", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_shipped_config(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those for GPUs fit on the eight of 80 GB that they name; those of an earlier stage's model are given a shape."""
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    made = [] if path in BIG or "scratch:" in path.read_text() else ["--shape", str(tmp_path)]
    if path not in BIG:
        made += ["--prompt-tokens", "200", "--completion-tokens", "50"]  # else the data is read
    gpus = "8" if path in BIG else "1"
    found = planned(capsys, str(path.relative_to(ROOT)), "--gpus", gpus, "--gpu-memory", "80", "--rows", "10000", *made)
    assert found["fits"], found["choices"]
    assert sum(choice["config"] for choice in found["choices"]) == 1
    assert found["steps"] is not None or "packed" in found["missing"][0]
    assert all(term["gib"] >= 0 for term in found["terms"])


def test_the_tables_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "configs/care/qwen2.5-7b.yaml", "--gpus", "8", "--tokens-per-second", "20000"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Qwen/Qwen2.5-7B-Instruct (7.616B parameters, all trained) on 8 GPU(s) of 80 GiB" in shown
    assert "2 B x 7,615.6M / 8" in shown
    assert "DeepSpeed's own estimate of the trained states: 17.99 GiB a GPU, 24 GiB a host" in shown
    assert "<- the config's" in shown
    assert "640 sequences x 4,096 tokens = up to 2,621,440 tokens an optimizer step, 2,264 steps" in shown
    assert f"about {2264 * 2_621_440 / 20_000 / 3600:,.1f} hours at most" in shown


def test_no_hours_without_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "configs/care/qwen2.5-7b.yaml", "--gpus", "8")
    assert found["hours"] is None
    assert "give --tokens-per-second" in found["missing"][0]
    assert found["states_by_deepspeed_gib"][0] == pytest.approx(
        (18 * 7_615_616_512 / 8 + 4 * 544_997_376) / 2**30, abs=0.01
    )


def test_too_large_a_run_ends_with_1_and_says_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "configs/care/qwen2.5-7b.yaml", "train.deepspeed=configs/deepspeed/zero2.json", "--gpus", "8"]
    assert cli.main([*arguments, "--gpu-memory", "64"]) == 1
    shown = capsys.readouterr().out
    assert "does not fit:" in shown
    assert "each line of changes makes it fit:" in shown
    assert "train.deepspeed=configs/deepspeed/zero3.json" in shown
    found = planned(capsys, *arguments[1:], "--gpu-memory", "64", code=1)
    assert not found["fits"]
    assert found["ways_out"]
    for way in found["ways_out"]:  # each way out is a config that fits when it is planned
        again = planned(capsys, *arguments[1:3], *way["change"].split(), *arguments[3:], "--gpu-memory", "64")
        assert again["fits"]
        assert next(choice for choice in again["choices"] if choice["config"])["gpu_gib"] == way["gpu_gib"]


def test_the_cheapest_that_fits_is_recommended(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "configs/care/sft-qwen2.5-7b.yaml", "--gpus", "8", "--rows", "7739")
    fitting = [choice for choice in found["choices"] if choice["fits"]]
    assert found["recommended"]["stage"] == fitting[0]["stage"]
    assert found["recommended"]["stage"] < 3
    assert found["recommended"]["write"].startswith("train.deepspeed: configs/deepspeed/zero")
    crowded = planned(
        capsys, "configs/care/sft-qwen2.5-7b.yaml", "--gpus", "8", "--gpu-memory", "20", "--rows", "7739", code=1
    )
    assert crowded["recommended"]["offload"] != "none"


def test_vllm_that_cannot_hold_the_weights_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    alone = ["configs/care/qwen2.5-14b.yaml", "train.vllm_tensor_parallel_size=1", "--gpus", "8"]
    found = planned(capsys, *alone, code=1)
    own = next(choice for choice in found["choices"] if choice["config"])
    assert "vLLM's share is 24.0 GiB" in own["problem"]
    assert "train.vllm_tensor_parallel_size=2" in [way["change"] for way in found["ways_out"]]


def test_two_changes_together_where_none_alone_suffices(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "configs/care/qwen2.5-7b.yaml", "--gpus", "8", "--gpu-memory", "24", code=1)
    assert 0 < len(found["ways_out"]) <= 5
    for way in found["ways_out"]:
        changes = way["change"].split()
        assert len(changes) >= 2
        planned(capsys, "configs/care/qwen2.5-7b.yaml", *changes, "--gpus", "8", "--gpu-memory", "24")


def test_the_host_is_judged_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    offload = ["configs/care/qwen2.5-7b.yaml", "train.deepspeed=configs/deepspeed/zero3_offload.json", "--gpus", "8"]
    assert planned(capsys, *offload)["fits"]
    found = planned(capsys, *offload, "--host-memory", "100", code=1)
    assert "of a host" in next(choice["problem"] for choice in found["choices"] if choice["config"])


def test_a_batch_that_does_not_divide_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "configs/care/qwen2.5-7b.yaml", "train.num_generations=7", "--gpus", "8", code=1)
    assert "train.num_generations: 7 does not divide" in found["refused"]


def test_rows_and_lengths_that_are_nowhere_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load((ROOT / "configs/care/sft-qwen2.5-7b.yaml").read_text())
    values["train"] |= {"packing": False, "max_length": None}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    assert cli.main(["plan", str(tmp_path / "c.yaml")]) == 2
    assert "give --prompt-tokens" in capsys.readouterr().err
    known = [str(tmp_path / "c.yaml"), "--gpus", "8", "--prompt-tokens", "3000", "--completion-tokens", "500"]
    found = planned(capsys, *known)
    assert found["steps"] is None
    assert "give --rows" in found["missing"][0]
    assert planned(capsys, *known, "--rows", "3200")["steps"] == 300


def test_lengths_come_from_data_where_no_limit_is_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        "method": "sft",
        "scratch": TINY,
        "sources": {"only": {"format": "synthetic", "level": "easy", "rows": 20, "seed": 1, "demonstrations": True}},
        "train": {"max_steps": 2, "output_dir": str(tmp_path)},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    found = planned(capsys, str(tmp_path / "c.yaml"))
    assert found["lengths"]["prompt"] > found["lengths"]["completion"] > 1
    assert "longest row of the data, at 2 tokens a word" in found["lengths"]["told"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "--gpus: is 0, but must be a whole number of at least 1"),
        (["--gpu-memory", "nan"], "--gpu-memory: is nan, but must be a number of GiB above 0"),
        (["--margin", "1"], "--margin: is 1.0, but is a share"),
        (["--tokens-per-second", "0"], "--tokens-per-second: is 0.0, but must be a number above 0"),
        (["--prompt-tokens", "0"], "--prompt-tokens: is 0, but must be a whole number of at least 1"),
        (["--shape", "Qwen/Qwen2.5-7B-Instuct"], "Did you mean 'Qwen/Qwen2.5-7B-Instruct'?"),
        (["train.deepspeed=configs/deepspeed/zero4.json"], "Did you mean 'zero3.json'?"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "configs/care/qwen2.5-7b.yaml", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_every_shipped_deepspeed_file_is_found_by_what_it_does() -> None:
    wanted = {Zero(1): "zero1", Zero(2): "zero2", Zero(3): "zero3", Zero(3, True, True): "zero3_offload"}
    assert {zero: path.stem for zero in wanted if (path := shipped_file(zero)) is not None} == wanted
    assert shipped_file(Zero(0)) is None
