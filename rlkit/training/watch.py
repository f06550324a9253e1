"""Watching a run: figures of every batch into the log, and an alarm when the reward rises while right answers do not.

The callback, and the trainer that answers held-out rows. What is measured stands in `figures`, what is too much in
`alarms`. Watching changes nothing of the training: a run is the same to the bit with and without it, unless it stops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rewards import Sample, Score, Weighted
from rlkit.runs import Run, append
from rlkit.training import processes
from rlkit.training.alarm_options import Alarms
from rlkit.training.alarms import Alarm, Scale, Watcher
from rlkit.training.figures import Seen, correctness, figures, measure_of, seen, telling

_log = logging.getLogger(__name__)


class Watch(TrainerCallback):
    """Logs `watch/...` figures of each batch and writes alarms.jsonl.

    `held_out` is true while held-out rows are answered; `outcome` says which alarm ended the run, if one did.
    """

    def __init__(
        self,
        run: Run,
        options: Alarms,
        reward: Weighted,
        generations: int,
        in_time: Callable[[int], AbstractContextManager[None]] = lambda count: nullcontext(),
    ) -> None:
        self.run, self.options, self.generations, self.in_time = run, options, generations, in_time
        self.watcher = Watcher(options, Scale.of(reward))
        self.measure = measure_of(options.correct)
        self.batch: list[Seen] = []
        self.held_out = False
        self.outcome: dict[str, Any] = {}

    def probing(self) -> dict[str, Any]:
        """TRL's fields for a probe before the first step and every so many steps, one completion a row."""
        if self.options.probe is None:
            return {}
        return {
            "eval_strategy": "steps",
            "eval_steps": self.options.probe.every_steps,
            "eval_on_start": self.run.checkpoint() is None,
            "num_generations_eval": 1,
        }

    def observe(self, samples: Sequence[Sample], scores: Sequence[Score], context: dict[str, Any]) -> None:
        """See one scored batch, of training or of held-out rows, the part of this process."""
        from accelerate.utils import gather_object

        pairs = zip(samples, scores, strict=True)
        with self.in_time(len(samples)):  # the measure of what is right may be a user's own code
            kept = [seen(sample, score, correctness(self.measure, sample)) for sample, score in pairs]
        batch = gather_object(kept)
        for name, value in figures(batch, 1 if self.held_out else self.generations).items():
            context["log_metric"](name, value)
        if not self.held_out:
            self.batch = batch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for line in state.log_history:  # of a resumed run: its alarms up to here stand in the journal already
            self.watcher.see(line)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "train_runtime" in logs:
            return
        # Every process sees the same figures, so that all of them stop or none.
        alarms = self.watcher.see({**logs, "step": state.global_step})
        if alarms and processes.rank() == 0:
            append(self.run.alarms, [self._line(alarm) for alarm in alarms])
            for alarm in alarms:
                _log.warning("alarm at step %d: %s: %s (%s)", alarm.step, alarm.kind, alarm.message, self.run.alarms)
        if alarms and self.options.stop:
            self.outcome.setdefault("stopped", alarms[0].kind)
            control.should_training_stop = control.should_save = True

    def _line(self, alarm: Alarm) -> dict[str, Any]:
        """An alarm with three completions of the last batch that show what it is about."""
        hidden = ("quotes", "context")
        shown = [asdict(each) for each in telling(self.batch, alarm.kind)]
        completions = [{name: value for name, value in each.items() if name not in hidden} for each in shown]
        return {**asdict(alarm), "completions": completions}


def probed_trainer(watch: Watch) -> type:
    """TRL's GRPOTrainer, which tells `watch` when a batch is one of held-out rows."""
    import torch
    from trl import GRPOTrainer

    class Probed(GRPOTrainer):
        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            # The same random numbers at every probe, and those of the training left as they are.
            device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            devices = [] if device is None else [torch.accelerator.current_device_index()]
            watch.held_out = True
            try:
                with torch.random.fork_rng(devices, device_type=device.type if device else "cuda"):
                    torch.manual_seed(self.args.seed)
                    return super().evaluate(*args, **kwargs)
            finally:
                watch.held_out = False

    return Probed
