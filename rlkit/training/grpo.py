"""GRPO on TRL: planned rows in, named rewards, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewards import Sample, Score, Weighted
from rewards.adapters import for_trl
from rlkit.config import Config
from rlkit.plain import plain
from rlkit.runs import Run, append
from rlkit.sources import Planned
from rlkit.training import common, processes
from rlkit.training.callbacks import Journal, Progress
from rlkit.training.tags import complete_head
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
    watch = None if options is None else Watch(run, options, reward, planned.batches.generations)
    log = SampleLog(run, config.samples_per_step)

    def observe(samples: Sequence[Sample], scores: Sequence[Score], context: dict[str, Any]) -> None:
        if watch is not None:
            watch.observe(samples, scores, context)
        if watch is None or not watch.held_out:
            log(samples, scores, context)

    functions, weights = for_trl(reward, observe=observe)
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
        callbacks=[Journal(run, planned.facts), Progress("grpo"), *([] if watch is None else [watch])],
        **adapter,
    )
    complete_head(trainer.model)
    common.quiet(trainer)
    common.finish(trainer, run, planned.facts, {} if watch is None else watch.outcome)


class SampleLog:
    """Sees every scored batch: logs share and reward per source, and writes completions to samples.jsonl.

    At most `per_step` completions a batch of all processes are written, whole groups first: a batch of long contexts
    would otherwise fill the disk.
    """

    def __init__(self, run: Run, per_step: int) -> None:
        self.run, self.per_step = run, per_step

    def __call__(self, samples: Sequence[Sample], scores: Sequence[Score], context: dict[str, Any]) -> None:
        from accelerate.utils import gather_object

        names = sorted({name for names in gather_object([[s.source for s in samples]]) for name in names})
        log = context.get("log_metric")
        if log is not None:
            for sample, score in zip(samples, scores, strict=True):
                for name in names:
                    log(f"sources/{name}/share", float(sample.source == name))
                if score.total is not None:
                    log(f"sources/{sample.source}/reward", score.total)
        step = context["trainer_state"].global_step + 1  # the optimizer step that these completions feed
        share = -(-self.per_step // processes.world_size())
        lines = [_line(step, *pair) for pair in zip(samples[:share], scores[:share], strict=True)]
        gathered = gather_object(lines)
        if processes.rank() == 0:
            append(self.run.samples, gathered[: self.per_step])


def _line(step: int, sample: Sample, score: Score) -> dict[str, Any]:
    """One logged completion in the record layout, so that `rlkit score` reads the file as it is."""
    record = {
        name: plain(getattr(sample, name))
        for name in ("id", "task", "kind", "source", "question", "context", "golds", "evidence", "sessions")
        if getattr(sample, name)
    }
    if sample.time_range is not None:
        record["time_range"] = list(sample.time_range)
    if sample.asked_at is not None:
        record["asked_at"] = sample.asked_at
    earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
    return {
        **sample.columns,  # first, so that a user's column named `step` cannot take the place of ours
        **record,
        "step": step,
        "prompt": sample.prompt,
        "completion": sample.completion,
        "score": earned,
    }
