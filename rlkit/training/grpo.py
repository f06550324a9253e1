"""GRPO on TRL: planned rows in, named rewards, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewards import Sample, Score, Weighted
from rewards.adapters import for_trl
from rlkit.config import Config
from rlkit.runs import Run
from rlkit.sources import Planned
from rlkit.training import common, processes
from rlkit.training.callbacks import Progress
from rlkit.training.sample_log import SampleLog
from rlkit.training.scoring import Scorer, fingerprint
from rlkit.training.tags import complete_head
from rlkit.training.times import Times
from rlkit.training.watch import Watch, probed_trainer

if TYPE_CHECKING:
    from datasets import Dataset


def train_grpo(
    config: Config,
    run: Run,
    reward: Weighted,
    planned: Planned,
    model: str,
    tokenizer: Any,
    held_out: Dataset | None = None,
) -> None:
    """Run TRL's GRPOTrainer over the planned rows, in their order, watched as the config says."""
    from trl import GRPOConfig, GRPOTrainer

    options = config.watched
    scorer, times = Scorer(reward, config.scored), Times(config.scored)
    watch = None if options is None else Watch(run, options, reward, planned.batches.generations, scorer.in_time)
    log = SampleLog(run, config.samples_per_step)

    def observe(samples: Sequence[Sample], scores: Sequence[Score], context: dict[str, Any]) -> None:
        if watch is not None:
            watch.observe(samples, scores, context)
        if watch is None or not watch.held_out:
            log(samples, scores, context)
        times.scored()

    def score(samples: Sequence[Sample], context: dict[str, Any]) -> list[Score]:
        times.generated()
        return scorer(samples, context)

    processes.agree("the reward", fingerprint(reward), "they would score by different rules")
    functions, weights = for_trl(reward, observe=observe, score=score)
    adapter = common.adapter_options(config, model, tokenizer)
    args = common.trl_arguments(
        GRPOConfig,
        config,
        planned.batches,
        reward_weights=weights,
        shuffle_dataset=False,
        remove_unused_columns=False,
        **({} if watch is None or held_out is None else watch.probing()),
    )
    trainer = (GRPOTrainer if watch is None else probed_trainer(watch))(
        model=model,
        reward_funcs=list(functions),
        args=args,
        train_dataset=planned.rows.with_transform(planned.with_prompt),
        eval_dataset=held_out,
        processing_class=tokenizer,
        callbacks=[
            times,
            common.journal(config, run, planned.facts),
            Progress("grpo"),
            *([] if watch is None else [watch]),
        ],
        **adapter,
    )
    complete_head(trainer.model)
    common.quiet(trainer)
    common.trackers_last(trainer)
    try:
        common.finish(trainer, run, planned.facts, {} if watch is None else watch.outcome)
    finally:
        scorer.close()
