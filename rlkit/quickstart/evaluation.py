"""What a model of the quickstart says to held-out records, greedily.

Knows how the quickstart asks; refuses to know how the model was trained and what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rlkit.data.record import Record
from rlkit.generation.local import Local
from rlkit.prompts import prompt_of

BATCH_SIZE = 200


def complete(
    model_folder: Path,
    records: Sequence[Record],
    max_new_tokens: int,
    on_done: Callable[[int], None] = lambda prompts: None,
) -> list[str]:
    """The model's greedy completion of each record's prompt, in order; `on_done` is told how many more are done."""
    model = Local(str(model_folder), {"max_new_tokens": max_new_tokens}, batch_size=BATCH_SIZE, device="cpu")
    prompts = (prompt_of(record, system=None) for record in records)
    return [reply.text for reply in model.complete(prompts, lambda number, reply: on_done(1))]
