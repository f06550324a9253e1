"""What an ablation is: stages, seeds, and what follows from them for each training and its questions.

Knows configs by their paths; reads no ablation's file (`reading` does) and starts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.config import Config, load_config
from rlkit.evaluation.settings import Settings, chosen_suites, load_settings
from rlkit.evaluation.suite import Suite
from rlkit.plain import plain

# training seeds of one ablation seed: one for each distance from the start, see `Ablation.training_seed`
SEEDS_APART = 8


@dataclass(frozen=True)
class Stage:
    """One model, or one set of rows, that is made once for every seed.

    Exactly one of these says what is done: `world` trains the quickstart's base model of that task, for `steps` steps,
    `hidden_size` wide (a multiple of 32; 128 makes 0.4 million parameters, 320 makes 2.1 million); `sample` lets the
    model `start` answer the training prompts of that GRPO config and keeps right answers as rows for SFT; `config` is
    trained from `start`, on the rows of the stage `rows` where it names one, with `set` (dotted keys) changed.
    """

    name: str
    world: str | None = None
    sample: str | None = None
    config: str | None = None
    start: str | None = None
    rows: str | None = None
    steps: int | None = None
    hidden_size: int | None = None
    set: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages that must be there before this one."""
        return tuple(name for name in (self.start, self.rows) if name is not None)

    @property
    def changes(self) -> list[str]:
        """`set` as `rlkit train` takes it, `key=value`."""
        return [f"{key}={json.dumps(plain(value))}" for key, value in self.set.items()]

    @property
    def has_model(self) -> bool:
        return self.sample is None


@dataclass(frozen=True)
class Ablation:
    """An ablation's file. `evaluate` is a config as `rlkit evaluate` reads it, or names shipped suites.

    `before` holds what variants start from; both are made once for every seed, and every model is evaluated.
    `differences` maps a name to (variant, against): what the first gains over the second, seed by seed.
    """

    title: str
    output_dir: Path
    seeds: tuple[int, ...]
    before: Mapping[str, Stage]
    variants: Mapping[str, Stage]
    evaluate: str
    differences: Mapping[str, tuple[str, str]]

    @property
    def stages(self) -> dict[str, Stage]:
        return {**self.before, **self.variants}

    def evaluation(self, seed: int | None = None) -> tuple[Settings, list[Suite]]:
        """What every model of a seed is asked; without a seed, what the evaluation's own file says."""
        path = Path(self.evaluate) if self.evaluate.endswith((".yaml", ".yml")) else None
        settings = load_settings(path, [] if seed is None else self.questions(seed))
        return settings, chosen_suites(settings, [] if path else [self.evaluate], where="evaluate")

    def questions(self, seed: int) -> list[str]:
        """What `rlkit evaluate` is told besides the model: made-up questions of the seed's own, the same for all variants.

        So the draw of the questions is part of what varies from seed to seed, and intervals hold it.
        """
        made_up = any(suite.made_up for suite in self.evaluation()[1])
        return [f"data_seed={SEEDS_APART * seed + SEEDS_APART - 1}"] if made_up else []

    def folder(self, seed: int, stage: str) -> Path:
        return self.output_dir / f"seed{seed}" / stage

    def model(self, seed: int, stage: str) -> Path:
        """The model's folder that a stage leaves behind."""
        folder = self.folder(seed, stage)
        return folder if self.stages[stage].world is not None else folder / "model"

    def training_seed(self, seed: int, stage: str) -> int:
        """What decides initial weights, order and sampling of a stage: the seed, and how far the stage is from the start.

        Variants that start from the same model so differ in nothing but what they change.
        """
        distance, at = 0, self.stages[stage]
        while at.start is not None:
            distance, at = distance + 1, self.stages[at.start]
        return SEEDS_APART * seed + distance

    def data_seed(self, seed: int, stage: str) -> int:
        """What decides made-up rows: the seed and the config, so that more SFT has the rows of SFT, and GRPO others."""
        configs = list(dict.fromkeys(s.config or s.sample for s in self.stages.values() if s.config or s.sample))
        here = self.stages[stage]
        return SEEDS_APART * seed + configs.index(here.config or here.sample)

    def overrides(self, seed: int, stage: str) -> list[str]:
        """What `rlkit train`, or the sampling of right answers, is told besides the config's file, as `key=value`."""
        here = self.stages[stage]
        # a curriculum shares out the config's sources, in whose place such rows stand; a variant may name another
        first = [] if here.rows is None else ["curriculum=null"]
        decided = (f"{key}={json.dumps(value)}" for key, value in self.decided(seed, stage).items())
        return [*first, *here.changes, *decided]

    def decided(self, seed: int, stage: str) -> dict[str, Any]:
        """What is the ablation's to say of a config and no variant's, by dotted key."""
        here = self.stages[stage]
        given: dict[str, Any] = {"train.seed": self.training_seed(seed, stage)}
        if here.config is not None:
            given["train.output_dir"] = str(self.folder(seed, stage))
        if here.start is not None:
            given["model.model_name_or_path"] = str(self.model(seed, here.start))
        if here.rows is not None:
            given["sources"] = {"kept": {"format": "records", "path": str(self.folder(seed, here.rows) / "kept.jsonl")}}
        else:
            config = opened(here)
            given |= {f"sources.{name}.seed": self.data_seed(seed, stage) for name in seeded_sources(config)}
        return given

    def config(self, seed: int, stage: str) -> Config:
        """The whole config of a stage that trains, or samples."""
        return opened(self.stages[stage], self.overrides(seed, stage))


def opened(stage: Stage, overrides: Sequence[str] | None = None) -> Config:
    """The config that a stage trains by, or samples by; without overrides as its variant alone has it."""
    path = stage.config or stage.sample
    assert path is not None  # for the type checker: a world has none
    # a config without a model of its own is whole only with the one that it will start from
    start = [] if stage.start is None else [f"model.model_name_or_path={json.dumps(stage.start)}"]
    return load_config(path, [*stage.changes, *start] if overrides is None else overrides)


def seeded_sources(config: Config) -> list[str]:
    """The sources whose rows are made up from a seed."""
    return [name for name, source in config.sources.items() if "seed" in source]
