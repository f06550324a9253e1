"""The quickstart from top to bottom: base model, SFT, more SFT, GRPO, and what each of them gets right.

SFT and GRPO are `rlkit train` with the configs of `configs/quickstart`; this module adds order, seeds and evaluation.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rlkit.config import Config, load_config
from rlkit.data.record import Record, to_json_line
from rlkit.data.synthetic import LEVELS, generate
from rlkit.errors import ConfigError, RunError
from rlkit.quickstart import base_model, evaluation
from rlkit.quickstart.progress import Bar
from rlkit.runs import write_json, write_text

CONFIGS = Path(__file__).parent  # the files of configs/quickstart, installed with the package
MODELS = ("base", "sft", "more_sft", "grpo")
MORE_SFT = ("train.learning_rate=3.0e-4", "train.lr_scheduler_type=constant")
MAX_THREADS = 4  # more only get in one another's way on matrices of this size


def run(
    seed: int = 0,
    folder: Path | None = None,
    *,
    rows: int = 400,
    base_steps: int = base_model.STEPS,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train and evaluate everything in a new folder; returns `{"seed", "seconds", "table": {model: {level: metrics}}}`.

    `rows` records a level are held out: their contexts are in no training set whatever the seed. `overrides`
    (`key=value`) go to all three training configs. The folder, `runs/quickstart-seedN-TIME` by default, keeps every
    run, the completions (`evaluation/MODEL-LEVEL.jsonl`, which `rlkit score` reads) and `results.json`.
    Raises RunError for a folder that holds anything, ConfigError for a wrong seed.
    """
    import torch

    seeds = stage_seeds(seed)
    folder = new_folder(seed, folder)
    keep_quiet()
    torch.set_num_threads(min(MAX_THREADS, torch.get_num_threads()))
    started = time.monotonic()
    models = {"base": train_base(folder / "base", seeds["base"], base_steps)}
    models["sft"] = train_stage("sft", models["base"], folder / "sft", seeds["sft"], overrides)
    grpo_steps = load_config(CONFIGS / "grpo.yaml", overrides).train["max_steps"]
    more = [f"train.max_steps={grpo_steps}", *MORE_SFT]
    models["more_sft"] = train_stage("sft", models["sft"], folder / "more_sft", seeds["sft"], [*overrides, *more])
    models["grpo"] = train_stage("grpo", models["sft"], folder / "grpo", seeds["grpo"], overrides)
    held_out = {level: list(generate(level, rows, seeds["evaluation"], split="test")) for level in LEVELS}
    table = {name: evaluate(name, models[name], held_out, folder / "evaluation") for name in MODELS}
    result = {"seed": seed, "seconds": round(time.monotonic() - started, 1), "table": table}
    write_json(folder / "results.json", {**result, "folder": str(folder)})
    return result


def keep_quiet() -> None:
    """Leave the terminal to the progress bars: no notices about what a tiny model on a CPU does without."""
    from transformers.utils import logging

    from rlkit.training.common import quiet_libraries

    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, which TRL imports, warns where it finds none
    quiet_libraries()
    logging.set_verbosity_error()


def stage_seeds(seed: int) -> dict[str, int]:
    """A seed for each stage, different from those of all other stages and all other runs.

    >>> stage_seeds(7)
    {'base': 28, 'sft': 29, 'grpo': 30, 'evaluation': 31}
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**29:
        raise ConfigError(f"seed: {seed!r} is not a whole number from 0 to {2**29 - 1}.")
    return {stage: 4 * seed + number for number, stage in enumerate(("base", "sft", "grpo", "evaluation"))}


def new_folder(seed: int, folder: Path | None) -> Path:
    """Make the run's folder; raises RunError where there is something already."""
    if folder is None:
        folder = Path("runs") / f"quickstart-seed{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: is not empty and is not overwritten; choose another --folder, or none for a new one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train_base(folder: Path, seed: int, steps: int) -> Path:
    with Bar("base model", steps) as bar:
        return base_model.base_model(folder, seed, steps, lambda step, loss: bar.show(step, f"loss {loss:.3g}"))


def train_stage(name: str, model: Path, folder: Path, seed: int, overrides: Sequence[str]) -> Path:
    """Train `model` as the shipped config `name` says, with this seed for training and data; returns the new model."""
    from rlkit.train import train

    return train(stage_config(name, model, folder, seed, overrides)).model


def stage_config(name: str, model: Path, folder: Path, seed: int, overrides: Sequence[str] = ()) -> Config:
    path = CONFIGS / f"{name}.yaml"
    sources = load_config(path).sources
    given = {
        "model.model_name_or_path": str(model),
        "train.output_dir": str(folder),
        "train.seed": seed,
        **{f"sources.{source}.seed": seed for source in sources},
    }
    return load_config(path, [*(f"{key}={json.dumps(value)}" for key, value in given.items()), *overrides])


def evaluate(
    name: str, model: Path, held_out: Mapping[str, Sequence[Record]], folder: Path
) -> dict[str, dict[str, float | int]]:
    """The metrics of a model at each level; its completions are written to `folder`."""
    found = {}
    with Bar(f"evaluate {name}", sum(map(len, held_out.values()))) as bar:
        for level, records in held_out.items():
            completions = evaluation.complete(model, records, bar.advance)
            found[level] = evaluation.measure(records, completions)
            lines = [
                to_json_line({**record, "completion": completion})
                for record, completion in zip(records, completions, strict=True)
            ]
            write_text(folder / f"{name}-{level}.jsonl", "\n".join(lines) + "\n")
    return found
