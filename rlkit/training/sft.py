"""SFT on TRL: rows with a prompt and a completion, loss on the completion only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlkit.config import Config
from rlkit.runs import Run
from rlkit.sources import Planned
from rlkit.training import common
from rlkit.training.callbacks import Journal, Progress

if TYPE_CHECKING:
    from datasets import Dataset


def train_sft(config: Config, run: Run, planned: Planned, model: str, tokenizer: Any) -> None:
    """Run TRL's SFTTrainer over the planned rows, in their order."""
    from trl import SFTConfig, SFTTrainer

    args = common.trl_arguments(
        SFTConfig,
        config,
        planned.batches,
        completion_only_loss=True,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
    )
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=conversations(planned),
        processing_class=tokenizer,
        callbacks=[Journal(run, planned.facts), Progress("sft")],
        **common.adapter_options(config),
    )
    common.quiet(trainer)
    common.finish(trainer, run, planned.facts)


def conversations(planned: Planned) -> Dataset:
    """Rows with `prompt` and `completion` as messages, as TRL takes them."""
    from datasets import Features, Value

    message = {"role": Value("string"), "content": Value("string")}

    def convert(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        completions = [[{"role": "assistant", "content": text}] for text in columns["completion"]]
        return {"prompt": planned.with_prompt(columns)["prompt"], "completion": completions}

    features = Features({"prompt": [message], "completion": [message]})
    return planned.rows.map(convert, batched=True, remove_columns=planned.rows.column_names, features=features)
