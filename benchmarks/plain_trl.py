"""GRPO as a user of TRL writes it, without rlkit's training: what the benchmarks measure `rlkit train` against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml


def write_rows(config_path: Path) -> None:
    """The rows of an rlkit config in planned order with their prompts, beside it as rows.jsonl."""
    from transformers import AutoTokenizer

    from rlkit.config import load_config
    from rlkit.fitting import fitted
    from rlkit.sources import in_order, load_sources, plan_rows

    config = load_config(config_path)
    tokenizer = AutoTokenizer.from_pretrained(config.model["model_name_or_path"])
    sources = fitted(config, load_sources(config), tokenizer)
    planned = in_order(config, sources, *plan_rows(config, sources, 1))
    rows = planned.rows.with_transform(planned.with_prompt)
    with (config_path.parent / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=str) + "\n" for row in rows)


def train(config_path: Path, functions: list[Any] | None = None) -> None:
    """Train an rlkit config with TRL alone on the rows beside it; without `functions`, by the preset of CARE."""
    values = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    if values["train"].get("deepspeed"):
        import deepspeed

        deepspeed.init_distributed(verbose=False)
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer, ModelConfig, get_peft_config

    weights = None
    if functions is None:
        from rewards import presets
        from rewards.adapters import for_trl

        functions, weights = for_trl(presets.care())
    name = values["model"]["model_name_or_path"]
    options = {key: values["model"][key] for key in ("dtype", "attn_implementation") if key in values["model"]}
    rows = [json.loads(line) for line in (config_path.parent / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    settings = {"report_to": "none", "logging_steps": 1, "shuffle_dataset": False, **values["train"]}
    trainer = GRPOTrainer(
        model=name,
        reward_funcs=list(functions),
        args=GRPOConfig(**settings, reward_weights=weights, model_init_kwargs=options or None),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(name),
        peft_config=get_peft_config(ModelConfig(**values["model"])),
    )
    trainer.train()
    trainer.save_model(str(Path(values["train"]["output_dir"]) / "model"))
