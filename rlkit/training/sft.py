"""SFT on TRL: rows with a prompt and a completion, loss on the completion only."""

from __future__ import annotations

from typing import Any

from rlkit.config import Config
from rlkit.runs import Run
from rlkit.sources import Planned
from rlkit.training import common
from rlkit.training.callbacks import Journal, Progress


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
        train_dataset=planned.rows.select_columns(["prompt", "completion"]),
        processing_class=tokenizer,
        callbacks=[Journal(run, planned.facts), Progress("sft")],
        **common.adapter_options(config),
    )
    common.quiet(trainer)
    common.finish(trainer, run, planned.facts)
