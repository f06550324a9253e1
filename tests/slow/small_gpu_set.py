"""The configs of `configs/ablate/gpu` in miniature: the same keys and the same sources, few rows, few steps, a tiny model, a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SET = ROOT / "configs" / "ablate" / "gpu"
REAL = ROOT / ".." / "shared" / "data"
FILES = {"hotpotqa": REAL / "hotpotqa_distractor.json", "musique": REAL / "musique_ans.jsonl"}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 2048,
}
BATCH = {"sft": {"per_device_train_batch_size": 2}, "grpo": {"per_device_train_batch_size": 4, "num_generations": 2}}
CPU = {"use_cpu": True, "bf16": False, "gradient_accumulation_steps": 1, "logging_steps": 1}


def write_small(folder: Path) -> Path:
    """Write the whole set in miniature to `folder`, and return that."""
    for path in SET.rglob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = yaml.safe_dump(small(values), sort_keys=False).replace("configs/ablate/gpu/", f"{folder}/")
        out = folder / path.relative_to(SET)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    return folder


def small(values: dict[str, Any]) -> dict[str, Any]:
    """One of the set's files in miniature."""
    for key, rows in (("sources", 6), ("data", 2)):
        if key in values:
            values[key] = {name: source(spec, rows) for name, spec in values[key].items()}
    if "max_new_tokens" in values:
        values["max_new_tokens"] = 8
    if "variants" in values:
        values["before"].pop("answers", None)  # a model that knows nothing has no right answers to keep
        values["variants"].pop("rejection_sft", None)
        pairs = values.get("differences", {})
        values["differences"] = {name: pair for name, pair in pairs.items() if "rejection_sft" not in pair}
    if "scratch" in values:
        values["scratch"] |= {**SHAPE, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 8192}
    if "train" in values:
        train = values["train"]
        train |= CPU | BATCH[values["method"]]
        if train.get("packing"):
            train |= {
                "dataset_num_proc": None,
                "max_length": 4096,
                "warmup_steps": 1,
                "lr_scheduler_kwargs": {"num_decay_steps": 1},
            }
        else:
            train["max_steps"] = 2
        if "max_completion_length" in train:
            train["max_completion_length"] = 8
    return values


def source(spec: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """A source with a handful of rows, of the files that are here."""
    made = dict(spec)
    if "path" in made:
        made |= {"path": str(FILES[made["format"]].resolve()), "limit": rows}
    for key in ("of", "with"):
        if key in made:
            made[key] = source(made[key], 12)
    if "rows" in made:
        made["rows"] = rows
    if "words" in made:
        made["words"] = [20, 200] if isinstance(made["words"], list) else 400
    return made
