"""What a quickstart is about: the data, what the base model is taught, and how answers are measured and shown.

The way from base model to table is the same for every world; it lives in `stages`.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlkit.data.record import Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD_SIZE = 32  # of a base model's attention
Metrics = Mapping[str, float | int]
Message = dict[str, str]


@dataclass(frozen=True)
class World:
    """One task's made-up world.

    `generate(level, rows, seed, split=...)` yields records. `conversations(rng, done)` draws one batch for the base
    model when the share `done` of its steps is behind it. `measure` gives the means over completions, `columns` the
    table's headers and how each is written from them, `is_right` judges a record with its completion, and `marks`
    names what of a prompt a right answer rests on.
    """

    configs: str  # what the names of its configs begin with: `sft.yaml`, `grpo.yaml`
    title: str
    levels: Sequence[str]
    generate: Callable[..., Iterator[Record]]
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    conversations: Callable[[random.Random, float], list[list[Message]]]
    base_steps: int
    convolution_words: int
    max_new_tokens: int
    measure: Callable[[Sequence[Record], Sequence[str]], dict[str, float | int]]
    columns: Mapping[str, str]
    is_right: Callable[[Record], bool]
    marks: Callable[[Record], Sequence[str]]
    hidden_size: int = (
        128  # of the base model, a multiple of HEAD_SIZE: 128 makes 0.4 million parameters, 320 some 2 million
    )


def mean(values: Iterable[float]) -> float:
    """The mean, rounded as results are written down.

    >>> mean([1, 0, 0])
    0.3333
    """
    return round(statistics.fmean(values), 4)
