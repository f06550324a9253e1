"""What happens beside a training step: journals, checkpoint marks, a stop that was asked for, progress.

Changes nothing of the training itself.
"""

from __future__ import annotations

import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlkit.checkpoints import keep_newest
from rlkit.runs import Run, append
from rlkit.training.stopping import Asked


class Journal(TrainerCallback):
    """Writes metrics.jsonl, marks checkpoints that every process has finished, and keeps the `keep` newest of them."""

    def __init__(self, run: Run, facts: dict[str, Any], keep: int | None = None) -> None:
        self.run, self.facts, self.keep = run, facts, keep

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            append(self.run.metrics, [{"step": state.global_step, **logs}])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            folder = self.run.folder / f"checkpoint-{state.global_step}"
            self.run.mark_complete(folder, {"step": state.global_step, **self.facts})
            keep_newest(self.run.folder, self.keep, state.best_model_checkpoint)


class Stop(TrainerCallback):
    """Stops a run that was asked to, on all processes alike, with a checkpoint; `at_step` is the step, if it did.

    It stops at the end of a round of completions (`every` optimizer steps), because a round is generated anew after a
    resume.
    """

    def __init__(self, run: Run, every: int) -> None:
        self.asked, self.every = Asked(run), every
        self.at_step: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.asked.listen()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.every == 0 and self.asked.anywhere():
            self.at_step = state.global_step
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.asked.deaf(stopped=self.at_step is not None)


class Progress(TrainerCallback):
    """A progress bar on a terminal, one line a logged step elsewhere; always on standard error."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.label = label
        self.console = Console(file=sys.stderr)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[seen]}"),
        )
        self.bar = Progress(*columns, console=self.console) if self.console.is_terminal else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar and state.is_world_process_zero:
            self.task = self.bar.add_task(self.label, total=state.max_steps, completed=state.global_step, seen="")
            self.bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar and state.is_world_process_zero:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        seen = "  ".join(f"{name} {value:.3g}" for name, value in _headline(logs).items())
        if self.bar:
            self.bar.update(self.task, seen=seen)
        else:
            self.console.print(
                f"{self.label} {state.global_step}/{state.max_steps}  {seen}", highlight=False, soft_wrap=True
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar and state.is_world_process_zero:
            self.bar.stop()


def _headline(logs: dict[str, Any]) -> dict[str, float]:
    """The few numbers that tell how it goes: reward and its parts, or the loss."""
    named = {"reward": "reward"} if "reward" in logs else {"loss": "loss"}
    named.update({k: k.split("/")[1] for k in logs if k.startswith("rewards/") and k.endswith("/mean")})
    named["eval_watch/correct"] = "held-out rows right"
    return {label: float(logs[key]) for key, label in named.items() if logs.get(key) is not None}
