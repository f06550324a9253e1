"""The held-out rows that a run is watched with: a source of their own, none of whose rows is trained on.

Knows loading and fitting; knows no trainer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlkit.config import Config
from rlkit.data.load import load_source
from rlkit.errors import ConfigError
from rlkit.fitting import fitted
from rlkit.plain import frozen, plain
from rlkit.sources import Sources, WithPrompt

if TYPE_CHECKING:
    from datasets import Dataset

WHERE = "alarms.probe.source"
_LABELS = ("golds", "context", "sessions")


def held_out_sources(config: Config, trained: Sources) -> Sources | None:
    """The source of the probe, None where the run has none; raises `ConfigError` where it shares rows with `trained`."""
    probe = config.watched.probe if config.watched else None
    if probe is None:
        return None
    rows = load_source(plain(probe.source), WHERE)
    questions = set(rows.rows["question"])
    own = {_content(row) for row in rows.rows}
    for name, source in trained.loaded.items():
        asked = (i for i, question in enumerate(source.rows["question"]) if question in questions)
        shared = [row for i in asked if _content(row := source.rows[i]) in own]
        if shared:
            raise ConfigError(
                f"{WHERE}: {len(shared)} of its rows are trained on as well, in source {name} (row {shared[0]['id']}), so "
                "they would rise with the reward whatever the model learns; name another split or file."
            )
    return Sources({"probe": rows})


def held_out_rows(config: Config, held_out: Sources, tokenizer: Any) -> Dataset:
    """So many rows of the probe's source as the config says, evenly spaced, with prompts as training has them."""
    probe = config.watched.probe if config.watched else None
    if probe is None:
        raise ValueError("the config has no probe.")
    alone = replace(config, sources=frozen({"probe": plain(probe.source)}))
    rows = fitted(alone, held_out, tokenizer).loaded["probe"].rows
    count = min(probe.rows, len(rows))
    chosen = rows.select([i * len(rows) // count for i in range(count)])
    return chosen.with_transform(WithPrompt(config.prompt.system))


def _content(row: dict[str, Any]) -> str:
    """What makes two rows one: the same question about the same input with the same answer."""
    return repr([row["question"], *(row.get(name) for name in _LABELS)])
