"""GRPO under the deepspeed launcher on two CPU processes: they agree, and the log equals the offline scores."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cells import Cell, Ranks, check, compare, reference, run_cell
from runs_for_real import MODEL, ROOT, finish, lines, write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    with Ranks(tmp_path_factory.mktemp("ranks")) as started:
        yield started


@pytest.mark.parametrize("cell", [Cell("grpo", "full", 2), Cell("grpo", "lora+tags", 3)], ids=str)
def test_two_processes_do_what_one_does(tmp_path: Path, ranks: Ranks, cell: Cell) -> None:
    """Two cells of the matrix (tests/matrix): the same completions, scores and losses, whole models that load."""
    alone = reference(ranks, tmp_path / "alone", cell.method, cell.adapter)
    check(compare(cell, alone, run_cell(ranks, tmp_path / "split", cell)))


def test_two_processes_agree(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        per_device_train_batch_size=4,
        max_steps=4,
        deepspeed=str(ROOT / "configs/deepspeed/zero3.json"),
    )
    probe = str(Path(__file__).with_name("rank_probe.py"))
    finish(tmp_path, "deepspeed", "--num_gpus", "2", "--no_local_rank", probe, "train", str(config))
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["ids"]) == 4 * 2  # steps x prompts a step

    run = tmp_path / "run"
    samples = lines(run / "samples.jsonl")
    assert len(samples) == 4 * 8
    order = list(dict.fromkeys((sample["step"], sample["id"]) for sample in samples))
    assert [row_id for _, row_id in order] == first["ids"]  # trained in planned order
    finish(
        tmp_path, sys.executable, "-m", "rlkit", "score", str(run / "samples.jsonl"),
        "--rewards", str(run / "config.yaml"), "--out", "scored.jsonl",
    )  # fmt: skip
    offline = [row["score"]["parts"] for row in lines(tmp_path / "scored.jsonl")]
    assert offline == [sample["score"]["parts"] for sample in samples]
    for row in lines(run / "metrics.jsonl"):
        here = [sample["score"] for sample in samples if sample["step"] == row["step"]]
        for part in ("letters", "short"):
            values = [score["parts"][part] for score in here if score["parts"][part] is not None]
            if values:
                assert row[f"rewards/{part}/mean"] == pytest.approx(sum(values) / len(values), abs=1e-6)

    from transformers import AutoModelForCausalLM

    trained = AutoModelForCausalLM.from_pretrained(run / "model")
    start = AutoModelForCausalLM.from_pretrained(run / "start_model")
    changed = [name for name, weight in trained.named_parameters() if not weight.equal(start.get_parameter(name))]
    assert changed, "training changed nothing"


def test_memory_t1_on_real_dialogues(tmp_path: Path) -> None:
    """The shipped config, with sizes for a CPU: every prompt holds the sessions that `rlkit ask` would choose."""
    data = ROOT / "../shared/data/time_dialog_outputs.jsonl"
    if not data.is_file():
        pytest.skip("the real data slices are not beside the project")
    values = yaml.safe_load((ROOT / "configs/memory_t1/qwen2.5-3b.yaml").read_text())
    rows = tmp_path / "dialogues.jsonl"
    longest = sorted(data.read_text(encoding="utf-8").splitlines(), key=len)[-12:]  # those with many sessions
    rows.write_text("\n".join(longest) + "\n", encoding="utf-8")
    del values["model"], values["train"]["use_vllm"], values["train"]["vllm_mode"], values["train"]["num_train_epochs"]
    values["scratch"] = {**MODEL, "vocab_size": 1500, "max_position_embeddings": 4096}
    values["sources"] = {"time_dialog": {"format": "time_dialog", "path": str(rows)}}
    values["memory"] |= {"budget_tokens": 1200, "top_k": 4}
    values["train"] |= {
        "deepspeed": str(ROOT / values["train"]["deepspeed"]),
        "bf16": False,
        "use_cpu": True,
        "max_steps": 2,
        "num_generations": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_completion_length": 16,
        "learning_rate": 1e-3,
    }
    (tmp_path / "memory.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    probe = str(Path(__file__).with_name("rank_probe.py"))
    finish(tmp_path, "deepspeed", "--num_gpus", "2", "--no_local_rank", probe, "train", "memory.yaml")
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["ids"]) == 2 * 4  # steps x prompts a step

    run = tmp_path / "runs/memory"
    metrics, samples = lines(run / "metrics.jsonl"), lines(run / "samples.jsonl")
    assert [row["step"] for row in metrics] == [1, 2]
    parts = ("format", "accuracy", "evidence", "temporal")
    for row in metrics:
        here = [sample["score"]["total"] for sample in samples if sample["step"] == row["step"]]
        assert len(here) == 16
        assert row["reward"] == pytest.approx(sum(here) / 16, abs=1e-6)
        assert all(f"rewards/{part}/none_rate" in row for part in parts)
    assert list(dict.fromkeys(sample["id"] for sample in samples)) == first["ids"]

    from transformers import AutoTokenizer

    from rlkit.ask import inference_options
    from rlkit.data.load import load_source

    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    options = inference_options(yaml.safe_load((run / "config.yaml").read_text()), {})
    memories = {record["id"]: record for record in load_source(values["sources"]["time_dialog"], "dialogues").records()}
    left_out = 0
    for sample in samples:
        sessions = memories[sample["id"]]["sessions"]
        shown, _ = options.apply(
            memories[sample["id"]], lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
        )
        names = [session["id"] for session in shown["sessions"]]
        assert [session["id"] for session in sample["sessions"]] == names
        prompt = sample["prompt"][-1]["content"]
        assert {session["id"] for session in sessions if f"{session['id']} (" in prompt} == set(names)
        left_out += len(sessions) - len(names)
    assert left_out > 0


def test_packed_sft_takes_the_same_rows_on_two_processes(tmp_path: Path) -> None:
    """LoRA, tags as tokens and packing, as shipped: every whole step has the loss that one process has."""
    config = str(ROOT / "configs/quickstart/sft_lora.yaml")
    rows = ("sources.one_hop.rows=100", "sources.two_hop.rows=100")
    finish(tmp_path, sys.executable, "-m", "rlkit", "train", config, *rows, "train.output_dir=one")
    split = (f"train.deepspeed={ROOT / 'configs/deepspeed/zero2.json'}", "train.per_device_train_batch_size=2")
    launch = ("deepspeed", "--num_gpus", "2", "--no_local_rank", "--module", "rlkit", "train", config)
    finish(tmp_path, *launch, *rows, *split, "train.output_dir=two")
    one, two = ([row["loss"] for row in lines(tmp_path / name / "metrics.jsonl")] for name in ("one", "two"))
    assert len(one) == len(two) > 5
    assert one[0] == pytest.approx(two[0], rel=1e-5)
    assert one[:-1] == pytest.approx(two[:-1], rel=2e-3)  # the last step is filled up with rows of the first


def test_the_documented_command(tmp_path: Path) -> None:
    """`deepspeed --module rlkit train`, as the configs say it; and a wrong value stops all processes with one message."""
    zero1 = str(ROOT / "configs/deepspeed/zero1.json")
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=1, deepspeed=zero1)
    launch = ("deepspeed", "--num_gpus", "2", "--module", "rlkit", "train", str(config))
    shared = set(Path("/dev/shm").glob("deepspeed_*"))
    finish(tmp_path, *launch)
    assert set(Path("/dev/shm").glob("deepspeed_*")) <= shared, "66 MB a process are left until the machine restarts"
    assert json.loads((tmp_path / "run" / "done.json").read_text())["steps"] == 1
    output = finish(tmp_path, *launch, expect=2)
    assert output.count("error: ") == 1
    assert "this run is complete" in output


def test_torchrun(tmp_path: Path) -> None:
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=1)
    launch = ("torchrun", "--nproc_per_node", "2", "-m", "rlkit", "train", str(config))
    refused = finish(tmp_path, *launch, "train.num_generations=3", expect=1)  # torchrun's own code for a failed process
    assert refused.count("error: ") == 1, refused
    assert "3 does not divide the 8 completions" in refused
    finish(tmp_path, *launch, "samples_per_step=4")  # the refused run has left the folder free
    assert len(lines(tmp_path / "run" / "samples.jsonl")) == 4
