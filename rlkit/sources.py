"""From the config's sources to the rows that a trainer walks: loaded, put in planned order, turned into prompts.

Knows loaders, prompts and plan; knows no tokenizer and no trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curricula import Plan, Schedule, from_config, plan
from rlkit.batches import Batches, batches
from rlkit.config import Config
from rlkit.data.load import Loaded, load_source
from rlkit.data.record import Record, to_record
from rlkit.errors import ConfigError, DataError
from rlkit.prompts import chat_prompt, prompt_of

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Sources:
    """The loaded sources of a config under its names."""

    loaded: Mapping[str, Loaded]

    def sizes(self) -> dict[str, int]:
        return {name: len(source.rows) for name, source in self.loaded.items()}

    def records(self) -> Iterator[tuple[str, Record]]:
        """Every record with its source's name, one at a time."""
        for name, source in self.loaded.items():
            for record in source.records():
                yield name, record

    def texts(self, limit: int = 2000) -> Iterator[str]:
        """Text to train a tokenizer on: the first `limit` rows of every source."""
        for source in self.loaded.values():
            for row in source.rows.select(range(min(limit, len(source.rows)))):
                record = to_record(row)
                yield from (message["content"] for message in chat_prompt(record))
                yield from record.get("golds", ())


@dataclass(frozen=True)
class Planned:
    """The rows of a run in the order in which they are trained, what makes prompts of them, and the plan behind it."""

    rows: Dataset
    with_prompt: WithPrompt
    plan: Plan
    batches: Batches

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint notes down to prove that it belongs to this order."""
        return {"plan": self.plan.fingerprint(), "rounds": self.batches.rounds, "rows": len(self.plan)}


def load_sources(config: Config) -> Sources:
    """Load every source; raises `DataError` or `ConfigError` naming the source."""
    return Sources({name: load_source(spec, f"sources.{name}") for name, spec in config.sources.items()})


def plan_rows(config: Config, sources: Sources, world_size: int) -> tuple[Plan, Batches]:
    """The plan of a run and the batch arithmetic behind it.

    A step of the plan is one round of prompts (GRPO) or one optimizer step (SFT).
    """
    sizes = sources.sizes()
    sums = batches(config, world_size, sum(sizes.values()))
    seed = config.setting("data_seed")
    seed = config.setting("seed") if seed is None else seed
    try:
        return plan(schedule_of(config), sizes, steps=sums.rounds, per_step=sums.rows_per_round, seed=seed), sums
    except ValueError as error:
        raise ConfigError(f"curriculum: {error}") from error


def schedule_of(config: Config) -> Schedule:
    """The schedule that the config's `curriculum:` describes; one source needs none."""
    try:
        return from_config(config.to_dict()["curriculum"], list(config.sources))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def in_order(config: Config, sources: Sources, order: Plan, sums: Batches) -> Planned:
    """The rows of all sources, selected in planned order, each with its source's name in `source`."""
    from datasets import concatenate_datasets

    named = [
        loaded.rows.remove_columns("source").add_column("source", [name] * len(loaded.rows))
        for name, loaded in sources.loaded.items()
    ]
    rows = concatenate_datasets(named).select(order.positions(list(sources.loaded)))
    return Planned(rows, WithPrompt(config.prompt.system), order, sums)


@dataclass(frozen=True)
class WithPrompt:
    """A transform for `datasets`: columns of rows in, the same with a `prompt` column out.

    With `Dataset.with_transform` prompts are made when a row is read, so that they cost no memory and no disk.
    """

    system: str | None

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        names = list(columns)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return {**columns, "prompt": [prompt_of(to_record(row), self.system) for row in rows]}


def check_demonstration(source: str, record: Mapping[str, Any]) -> None:
    """Raise `DataError` for a row that SFT cannot learn from."""
    if not record.get("completion"):
        raise DataError(
            f"sources.{source}: row {record['id']}: has no completion, so SFT has nothing to learn from it; fill it in."
        )
