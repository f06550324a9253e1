"""The quickstart from top to bottom: base model, SFT, more SFT, GRPO, and what each of them gets right.

SFT and GRPO are `rlkit train` with the configs of `configs/quickstart`; this module adds order, seeds and evaluation,
the same for every world.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rewards import Sample
from rewards.gold import gold_completion
from rlkit.config import Config, load_config
from rlkit.data.record import Record, to_json_line
from rlkit.errors import ConfigError, RunError, nearest
from rlkit.quickstart import care, evaluation, memory
from rlkit.quickstart.base_model import base_model
from rlkit.quickstart.progress import Bar
from rlkit.quickstart.world import World
from rlkit.runs import write_json, write_text

WORLDS = {"care": care.WORLD, "memory_t1": memory.WORLD}
CONFIGS = Path(__file__).parent  # the files of configs/quickstart, installed with the package
MODELS = ("base", "sft", "more_sft", "grpo")
MORE_SFT = ("train.learning_rate=3.0e-4", "train.lr_scheduler_type=constant")
MAX_THREADS = 4  # more only get in one another's way on matrices of this size


def run(
    task: str = "care",
    seed: int = 0,
    folder: Path | None = None,
    *,
    rows: int = 400,
    base_steps: int | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Train and evaluate everything in a new folder: `{"task", "seed", "seconds", "table": {model: {level: metrics}}}`.

    `rows` records a level are held out: their contexts are in no training set whatever the seed. `gold` in the table
    is what the labels themselves earn. `overrides` (`key=value`) go to all three training configs. The folder,
    `runs/quickstart-TASK-seedN-TIME` by default, keeps every run, the completions (`evaluation/MODEL-LEVEL.jsonl`,
    which `rlkit score` reads) and `results.json`.
    Raises RunError for a folder that holds anything, ConfigError for an unknown task or a wrong seed.
    """
    import torch

    world, seeds = world_of(task), stage_seeds(seed)
    folder = new_folder(task, seed, folder)
    keep_quiet()
    torch.set_num_threads(min(MAX_THREADS, torch.get_num_threads()))
    started = time.monotonic()
    models = {"base": train_base(world, folder / "base", seeds["base"], base_steps)}

    def train_stage(stage: str, model: str, name: str, more: Sequence[str] = ()) -> Path:
        from rlkit.train import train

        return train(stage_config(world, stage, models[model], folder / name, seeds[stage], [*overrides, *more])).model

    models["sft"] = train_stage("sft", "base", "sft")
    grpo_steps = load_config(config_path(world, "grpo"), overrides).train["max_steps"]
    models["more_sft"] = train_stage("sft", "sft", "more_sft", [f"train.max_steps={grpo_steps}", *MORE_SFT])
    models["grpo"] = train_stage("grpo", "sft", "grpo")
    held_out = {level: list(world.generate(level, rows, seeds["evaluation"], split="test")) for level in world.levels}
    table = {name: evaluate(world, name, model, held_out, folder / "evaluation") for name, model in models.items()}
    table["gold"] = evaluate(world, "gold", None, held_out, folder / "evaluation")
    seconds = round(time.monotonic() - started, 1)
    result = {"task": task, "seed": seed, "seconds": seconds, "table": table}
    write_json(folder / "results.json", {**result, "folder": str(folder)})
    return result


def world_of(task: str) -> World:
    """The task's world.

    >>> world_of("memory").configs
    Traceback (most recent call last):
    rlkit.errors.ConfigError: task: 'memory' is unknown; there are care, memory_t1. Did you mean 'memory_t1'?
    """
    if task not in WORLDS:
        raise ConfigError(f"task: {task!r} is unknown; there are {', '.join(WORLDS)}.{nearest(task, WORLDS)}")
    return WORLDS[task]


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


def new_folder(task: str, seed: int, folder: Path | None) -> Path:
    """Make the run's folder; raises RunError where there is something already."""
    if folder is None:
        folder = Path("runs") / f"quickstart-{task}-seed{seed}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder}: is not empty and is not overwritten; choose another --folder, or none for a new one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def train_base(world: World, folder: Path, seed: int, steps: int | None) -> Path:
    steps = world.base_steps if steps is None else steps
    with Bar("base model", steps) as bar:
        return base_model(world, folder, seed, steps, lambda step, loss: bar.show(step, f"loss {loss:.3g}"))


def config_path(world: World, stage: str) -> Path:
    return CONFIGS / f"{world.configs}{stage}.yaml"


def stage_config(
    world: World, stage: str, model: Path, folder: Path, seed: int, overrides: Sequence[str] = ()
) -> Config:
    """The shipped config of a stage with this model, folder and, for training and data, seed."""
    path = config_path(world, stage)
    sources = load_config(path).sources
    given = {
        "model.model_name_or_path": str(model),
        "train.output_dir": str(folder),
        "train.seed": seed,
        **{f"sources.{source}.seed": seed for source in sources},
    }
    return load_config(path, [*(f"{key}={json.dumps(value)}" for key, value in given.items()), *overrides])


def evaluate(
    world: World, name: str, model: Path | None, held_out: Mapping[str, Sequence[Record]], folder: Path
) -> dict[str, dict[str, float | int]]:
    """The metrics of a model at each level, of the labels for no model; its completions are written to `folder`."""
    found = {}
    with Bar(f"evaluate {name}", sum(map(len, held_out.values()))) as bar:
        for level, records in held_out.items():
            if model is None:
                completions = [gold_completion(Sample.from_record(record)) for record in records]
                bar.advance(len(records))
            else:
                completions = evaluation.complete(model, records, world.max_new_tokens, bar.advance)
            found[level] = world.measure(records, completions)
            lines = [
                to_json_line({**record, "completion": completion})
                for record, completion in zip(records, completions, strict=True)
            ]
            write_text(folder / f"{name}-{level}.jsonl", "\n".join(lines) + "\n")
    return found
