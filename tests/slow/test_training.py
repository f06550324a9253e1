"""Trainings of the other kinds: LoRA, SFT on demonstrations, and the main job on real questions."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from runs_for_real import ROOT, finish, lines, write_config

from rlkit.data.synthetic import generate

pytestmark = pytest.mark.slow
TRAIN = (sys.executable, "-m", "rlkit", "train")


def test_lora_gives_an_adapter_and_a_whole_model(tmp_path: Path) -> None:
    """`model/` is loaded and trained on like any other; `adapter/` holds what was trained, and both say the same."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lora = ("model.use_peft=true", "model.lora_r=4", "model.lora_target_modules=all-linear")
    finish(tmp_path, *TRAIN, str(write_config(tmp_path, max_steps=2)), *lora)
    run = tmp_path / "run"
    assert json.loads((run / "adapter/adapter_config.json").read_text())["r"] == 4
    assert not (run / "model/adapter_config.json").exists()
    text = AutoTokenizer.from_pretrained(run / "model")("Who wrote Emma?", return_tensors="pt")
    start, whole, changed = (
        AutoModelForCausalLM.from_pretrained(run / name)(**text).logits for name in ("start_model", "model", "adapter")
    )
    assert torch.allclose(whole, changed, atol=1e-5)
    assert not torch.allclose(whole, start, atol=1e-5)

    values = yaml.safe_load((tmp_path / "run.yaml").read_text())
    del values["scratch"]
    values |= {"model": {"model_name_or_path": "run/model"}}
    values["train"] |= {"max_steps": 1, "output_dir": "next"}
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(values))
    finish(tmp_path, *TRAIN, "next.yaml")


def test_sft_with_everything_resumes_to_the_bit(tmp_path: Path) -> None:
    """LoRA, tags as tokens and packing; a run whose last checkpoint and model are gone ends as it did before."""
    config = str(ROOT / "configs/quickstart/sft_lora.yaml")
    finish(tmp_path, *TRAIN, config)
    run = tmp_path / "runs/sft_lora"
    steps = json.loads((run / "done.json").read_text())["steps"]
    assert 10 < steps < 100 / 4  # 400 rows, of which 4 make a step without packing
    weights = (run / "model/model.safetensors").read_bytes()
    (run / "done.json").unlink()
    for gone in (run / "model", run / "adapter", *run.glob(f"checkpoint-{steps}")):
        shutil.rmtree(gone)
    finish(tmp_path, *TRAIN, config, "--resume")
    assert (run / "model/model.safetensors").read_bytes() == weights
    assert [row["step"] for row in lines(run / "metrics.jsonl")] == list(range(1, steps + 1))


def test_sft_learns_the_completions_and_not_the_prompts(tmp_path: Path) -> None:
    rows = []
    for row in generate("easy", rows=16, seed=3):
        quote = f"<retrieval>{row['evidence'][0]}</retrieval>"
        rows.append(json.dumps({**row, "completion": f"<think>{quote}</think> Answer: {row['golds'][0]}"}))
    config = write_config(tmp_path)
    (tmp_path / "demos.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    values = yaml.safe_load(config.read_text())
    del (
        values["rewards"],
        values["curriculum"],
        values["train"]["num_generations"],
        values["train"]["max_completion_length"],
    )
    values |= {"method": "sft", "sources": {"demos": {"format": "records", "path": "demos.jsonl"}}}
    values["train"] |= {"max_steps": 60, "learning_rate": 5e-3, "save_steps": 60}
    config.write_text(yaml.safe_dump(values))
    finish(tmp_path, *TRAIN, str(config))
    losses = [row["loss"] for row in lines(tmp_path / "run/metrics.jsonl")]
    assert losses[-1] < 0.5 * losses[0]

    # the same loss, by hand: over the completion's tokens alone
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlkit.prompts import chat_prompt

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/start_model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run/start_model")
    total, count = 0.0, 0
    order = json.loads(json.dumps([json.loads(row) for row in rows]))
    from curricula import constant, plan

    first = plan(constant({"demos": 1.0}), {"demos": 16}, steps=60, per_step=8, seed=7).at(0)
    for draw in first:
        row = order[draw.index]
        prompt = tokenizer.apply_chat_template(chat_prompt(row, None), add_generation_prompt=True, tokenize=False)
        whole = prompt + row["completion"] + "<|im_end|>\n"
        ids = torch.tensor([tokenizer(whole)["input_ids"]])
        skip = len(tokenizer(prompt)["input_ids"])
        logits = model(ids).logits[0, skip - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, ids[0, skip:], reduction="sum").item()
        count += ids.shape[1] - skip
    assert losses[0] == pytest.approx(total / count, rel=1e-3)


def test_the_main_job_on_real_questions(tmp_path: Path) -> None:
    config = ROOT / "configs/quickstart/hotpotqa_musique.yaml"
    if not (ROOT / "../shared/data").is_dir():
        pytest.skip("the real data slices are not beside the project")
    values = yaml.safe_load(config.read_text())
    for spec in values["sources"].values():
        spec["path"] = str(ROOT / spec["path"])
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(values))
    finish(tmp_path, *TRAIN, "real.yaml")
    run = tmp_path / "runs/real"
    metrics = lines(run / "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, 21))
    assert all(f"rewards/{part}/mean" in row for row in metrics for part in ("accuracy", "format", "grounding"))
    assert metrics[0]["sources/easy/share"] == 1.0
    assert sum(row.get("sources/hard/share", 0) for row in metrics[10:]) > sum(
        row.get("sources/hard/share", 0) for row in metrics[:10]
    )
    for name in (
        "config.yaml",
        "environment.json",
        "data.json",
        "samples.jsonl",
        "checkpoint-20",
        "model",
        "done.json",
    ):
        assert (run / name).exists(), name


def test_one_run_holds_both_tasks(tmp_path: Path) -> None:
    """CARE and Memory-T1 rows in one curriculum, each scored by its own task's parts and `None` elsewhere."""
    session = {"date": "2024-03-05T09:00:00", "utterances": [{"speaker": "Ann", "text": "We flew to Rome."}]}
    rows = [
        {
            "id": f"m{number}", "task": "memory_t1", "kind": "choice", "question": "Where? A. Rome B. Oslo",
            "golds": ["A"], "evidence": ["session_1"], "time_range": ["2024-03-01", None],
            "sessions": [{"id": f"session_{k}", **session} for k in (1, 2)],
        }
        for number in range(20)
    ]  # fmt: skip
    config = write_config(tmp_path)
    (tmp_path / "memory.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = yaml.safe_load(config.read_text())
    values["sources"] = {
        "care": {"format": "records", "path": "easy.jsonl"},
        "memory": {"format": "records", "path": "memory.jsonl"},
    }
    values["curriculum"] = {"kind": "linear", "start": {"care": 1, "memory": 0}, "end": {"care": 0, "memory": 1}}
    values["rewards"] = {
        "accuracy": {"use": "token_f1", "weight": 0.7, "task": "care"},
        "format": {"use": "care_format", "weight": 0.3, "task": "care"},
        "memory_format": {"use": "memory_format", "weight": 1.0, "task": "memory_t1"},
        "answer": {"use": "temporal_answer", "weight": 0.6, "task": "memory_t1"},
        "evidence": {"use": "jaccard_evidence", "weight": 0.2, "task": "memory_t1"},
        "temporal": {"use": "temporal_consistency", "weight": 0.2, "task": "memory_t1"},
    }
    config.write_text(yaml.safe_dump(values))
    finish(tmp_path, *TRAIN, str(config))
    samples = lines(tmp_path / "run/samples.jsonl")
    seen = {sample["task"] for sample in samples}
    assert seen == {"care", "memory_t1"}
    for sample in samples:
        parts = sample["score"]["parts"]
        if sample["task"] == "care":
            assert parts["accuracy"] is not None
            assert parts["memory_format"] is parts["answer"] is parts["evidence"] is parts["temporal"] is None
            assert sample["score"]["maximum"] == pytest.approx(1.0)
        else:
            assert parts["accuracy"] is parts["format"] is None
            assert parts["memory_format"] == -0.5  # a model without training writes no JSON
            assert sample["score"]["total"] == -0.5
