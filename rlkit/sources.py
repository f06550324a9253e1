"""From the config's sources to the rows that a trainer walks: loaded, turned into prompts, put in planned order.

Knows loaders, prompts, budget and plan, and what `rlkit check` shows of them; knows no trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curricula import Plan, constant, from_config, plan
from rlkit.batches import Batches, batches
from rlkit.config import Config
from rlkit.data.load import Loaded, load_source
from rlkit.data.record import features, to_record, to_row
from rlkit.errors import ConfigError, DataError
from rlkit.prompts import chat_prompt, passage_text

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Sources:
    """The loaded sources of a config under its names."""

    loaded: Mapping[str, Loaded]

    def sizes(self) -> dict[str, int]:
        return {name: len(source.rows) for name, source in self.loaded.items()}

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every record with its source's name, one at a time."""
        for name, source in self.loaded.items():
            for row in source.rows:
                yield name, dict(to_record(row))

    def texts(self, limit: int = 2000) -> Iterator[str]:
        """Text to train a tokenizer on: the first `limit` rows of every source."""
        for source in self.loaded.values():
            for row in source.rows.select(range(min(limit, len(source.rows)))):
                record = to_record(row)
                yield from (message["content"] for message in chat_prompt(record))
                yield from record.get("golds", ())


@dataclass(frozen=True)
class Planned:
    """The rows of a run in the order in which they are trained, and the plan behind it."""

    rows: Dataset
    plan: Plan
    batches: Batches

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint notes down to prove that it belongs to this order."""
        return {"plan": self.plan.fingerprint(), "rounds": self.batches.rounds, "rows": len(self.plan)}


def load_sources(config: Config) -> Sources:
    """Load every source; raises `DataError` or `ConfigError` naming the source."""
    return Sources({name: load_source(spec, where=f"sources.{name}") for name, spec in config.sources.items()})


def plan_rows(config: Config, sources: Sources, world_size: int) -> tuple[Plan, Batches]:
    """The plan of a run and the batch arithmetic behind it.

    Without a `curriculum:` every source has a share in proportion to its rows.
    """
    sizes = sources.sizes()
    sums = batches(config, world_size, sum(sizes.values()))
    try:
        if config.curriculum is None:
            schedule = constant({name: float(size) for name, size in sizes.items()})
        else:
            schedule = from_config(config.to_dict()["curriculum"], list(sizes))
        seed = config.setting("data_seed")
        seed = config.setting("seed") if seed is None else seed
        return plan(schedule, sizes, steps=sums.rounds, per_step=sums.rows_per_round, seed=seed), sums
    except ValueError as error:
        raise ConfigError(f"curriculum: {error}") from error


def with_prompts(config: Config, sources: Sources, count_tokens: Callable[[str], int] | None) -> Sources:
    """The sources with a `prompt` column, every row within `prompt.max_tokens`.

    Passages are dropped whole, distractors first; a row that does not fit without cutting evidence is left out and
    counted in the source's report.
    """
    return Sources({name: _prompted(config, name, source, count_tokens) for name, source in sources.loaded.items()})


def in_order(sources: Sources, order: Plan, sums: Batches) -> Planned:
    """The rows of all sources, selected in planned order."""
    from datasets import concatenate_datasets

    names = list(sources.loaded)
    together = concatenate_datasets([sources.loaded[name].rows for name in names])
    return Planned(together.select(order.positions(names)), order, sums)
