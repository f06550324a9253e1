"""SFT on TRL: rows with a prompt and a completion, loss on the completion only.

Rows are trained in planned order and whole: rows over `train.max_length` were left out before, and none is cut here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from rlkit.config import Config
from rlkit.runs import Run
from rlkit.sources import Planned
from rlkit.training import common
from rlkit.training.callbacks import Progress
from rlkit.training.tags import complete_head

if TYPE_CHECKING:
    from datasets import Dataset


def train_sft(config: Config, run: Run, planned: Planned, model: str, tokenizer: Any) -> None:
    """Run TRL's SFTTrainer over the planned rows, in their order."""
    trainer = sft_trainer(config, run, planned, model, tokenizer)
    common.quiet(trainer)
    common.finish(trainer, run, planned.facts)


def sft_trainer(config: Config, run: Run, planned: Planned, model: str, tokenizer: Any) -> Any:
    """TRL's SFTTrainer with the planned rows, packed where the config says so."""
    from trl import SFTConfig, SFTTrainer

    packing = config.setting("packing")
    adapter = common.adapter_options(config, model, tokenizer)
    args = common.trl_arguments(
        SFTConfig,
        config,
        planned.batches,
        completion_only_loss=config.setting("completion_only_loss") is not False,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
        max_length=None,
        packing=False,
        padding_free=packing or config.setting("padding_free"),
    )
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=conversations(planned),
        processing_class=tokenizer,
        callbacks=[common.journal(config, run, planned.facts), Progress("sft")],
        **adapter,
    )
    complete_head(trainer.model)
    if packing:
        trainer.train_dataset = packed(trainer.train_dataset, config.setting("max_length"))
    return trainer


def conversations(planned: Planned) -> Dataset:
    """Rows with `prompt` and `completion` as messages, as TRL takes them."""
    from datasets import Features, Value

    message = {"role": Value("string"), "content": Value("string")}

    def convert(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        completions = [[{"role": "assistant", "content": text}] for text in columns["completion"]]
        return {"prompt": planned.with_prompt(columns)["prompt"], "completion": completions}

    features = Features({"prompt": [message], "completion": [message]})
    return planned.rows.map(convert, batched=True, remove_columns=planned.rows.column_names, features=features)


def packed(rows: Dataset, max_length: int) -> Dataset:
    """Consecutive tokenised rows as sequences of at most `max_length` tokens, in the layout of TRL's `pack_dataset`.

    That function puts rows in order of their lengths, which would undo the plan; this one keeps their order and never
    cuts a row.
    """
    import pyarrow as pa
    from datasets import Dataset

    table = rows.select_columns(["input_ids", "labels"]).with_format("arrow")[:].combine_chunks()
    lengths = [len(ids) for ids in table["input_ids"]]
    firsts = [*first_rows(lengths, max_length), len(lengths)]
    begins = [0, *accumulate(lengths)]
    joins = {
        "input_ids": [begins[row] for row in firsts],
        "labels": [begins[row] for row in firsts],
        "seq_lengths": firsts,
    }
    values = {name: pa.compute.list_flatten(table[name]) for name in table.column_names}
    values["seq_lengths"] = pa.array(lengths, pa.int64())
    return Dataset(pa.table({name: pa.LargeListArray.from_arrays(joins[name], _whole(values[name])) for name in joins}))


def first_rows(lengths: Sequence[int], max_length: int) -> Iterator[int]:
    """The number of the first row of each sequence, when each takes as many of the next rows as fit.

    >>> list(first_rows([3, 4, 2, 9, 1], max_length=8))
    [0, 2, 3, 4]
    """
    filled = max_length
    for row, length in enumerate(lengths):
        if filled + length > max_length:
            yield row
            filled = 0
        filled += length


def _whole(values: Any) -> Any:
    return values.combine_chunks() if hasattr(values, "combine_chunks") else values
