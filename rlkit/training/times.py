"""Where the time of a step goes: generation, rewards, update. Measured beside the training, on the first process.

Knows a clock and the order of a step; knows no reward.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlkit.training.scoring_options import Scoring

HINT_SHARE, HINT_SECONDS = 0.05, 1.0  # rewards that take more of a step than this are worth a word
_PHASES = ("generation", "rewards", "update")
_log = logging.getLogger(__name__)


class Times(TrainerCallback):
    """Adds `time/...` to what is logged: mean seconds a step of each phase, and the share of the rewards.

    Stands before the callback that writes the log. `generation` is all that comes before the rewards of a batch, with
    tokens and log-probabilities; `rewards` is all that TRL waits for, with the logging of completions; `update` is the
    rest. A device that works on while Python has gone on counts where Python next waits for it.
    """

    def __init__(self, options: Scoring) -> None:
        self.options = options
        self._since: float | None = None  # None between steps, so that probes do not count
        self._spent = dict.fromkeys(_PHASES, 0.0)
        self._steps = 0
        self._hinted = options.workers > 0

    def generated(self) -> None:
        """Completions are there, and now they are scored."""
        self._lap("generation")

    def scored(self) -> None:
        """The rewards are there."""
        self._lap("rewards")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._since = time.perf_counter()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._lap("update")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._lap("update")
        self._since = None
        self._steps += 1

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or not self._steps or "train_runtime" in logs or any(name.startswith("eval_") for name in logs):
            return
        seconds = {name: spent / self._steps for name, spent in self._spent.items()}
        share = seconds["rewards"] / max(sum(seconds.values()), 1e-9)
        logs.update({f"time/{name}": round(value, 6) for name, value in seconds.items()})
        logs["time/rewards_share"] = round(share, 6)
        self._spent, self._steps = dict.fromkeys(_PHASES, 0.0), 0
        if (
            not self._hinted
            and share > HINT_SHARE
            and seconds["rewards"] > HINT_SECONDS
            and state.is_world_process_zero
        ):
            self._hinted = True
            _log.info(
                "rewards take %.1f s, %.0f %% of a step; scoring: {workers: N} spreads them over N processes",
                seconds["rewards"], 100 * share,
            )  # fmt: skip

    def _lap(self, phase: str) -> None:
        if self._since is not None:
            now = time.perf_counter()
            self._spent[phase] += now - self._since
            self._since = now
