"""A run that is told to stop: by SIGTERM or SIGUSR1, or because its launcher is gone.

All processes stop after the same step, with a checkpoint from which the same command goes on to the bit. Knows signals
and processes; refuses to know what is trained.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlkit.runs import Run, tell_stopping
from rlkit.training import processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what Slurm, Kubernetes and launchers send
EXIT_CODE = 85  # not 143, which a process that was killed without saving has as well
ONE_SIGNAL_SECONDS = 3.0  # launchers pass on what the scheduler has sent to every process already
LAUNCHER_POLL_SECONDS = 0.5
ORPHAN_SECONDS = 600.0  # how long processes without a launcher may take to the end of a step
_LAUNCHERS = {
    "deepspeed",
    "deepspeed.launcher.launch",
    "deepspeed.launcher.runner",
    "torchrun",
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate",
    "accelerate.commands.launch",
}


class Stopped(SystemExit):
    """The run has stopped as it was told to, and can go on."""


class Stop(TrainerCallback):
    """Listens while a run trains; `at_step` is the step after which all processes stopped, if they did.

    A run stops at the end of a generation round (`every` optimizer steps), because a round is generated anew after a
    resume. A second signal ends the process at once; so does the first where another process of the run is dead already.
    """

    def __init__(self, run: Run, every: int) -> None:
        self.run, self.every = run, every
        self.asked: str | None = None  # what has asked this process to stop
        self.at_step: int | None = None
        self._first_signal = 0.0
        self._write_end = -1
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        when_launcher_ends(self._launcher_gone)
        if threading.current_thread() is not threading.main_thread():
            return  # a trainer inside somebody else's program: its signals are theirs
        # A thread reads the signals, so that a second one ends a process whose main thread waits for another process.
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        threading.Thread(target=self._read_signals, args=(read_end,), daemon=True).start()
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.every == 0 and _any(self.asked is not None):
            self.at_step = state.global_step
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        when_launcher_ends(_end_at_once)
        if not self._before:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            # A process that has stopped is told so once more by its launcher, and ends by itself.
            signal.signal(number, handler if self.at_step is None else signal.SIG_IGN)
        self._before = {}
        os.close(self._write_end)  # ends the thread

    def _read_signals(self, read_end: int) -> None:
        while numbers := os.read(read_end, 1):
            if numbers[0] in SIGNALS:
                self._signalled(signal.Signals(numbers[0]))
        os.close(read_end)

    def _signalled(self, number: signal.Signals) -> None:
        again = self._first_signal and time.monotonic() - self._first_signal > ONE_SIGNAL_SECONDS
        if again or _lost_a_sibling():
            os._exit(128 + number)
        if not self._first_signal:
            self._first_signal = time.monotonic()
            self._ask(number.name)

    def _launcher_gone(self) -> None:
        self._ask("the end of its launcher")
        patience = threading.Timer(ORPHAN_SECONDS, _end_at_once)
        patience.daemon = True
        patience.start()

    def _ask(self, what: str) -> None:
        if self.asked is None:
            self.asked = what
            if processes.rank() == 0:
                tell_stopping(self.run)


def _any(here: bool) -> bool:
    """Whether it is so on any process."""
    if processes.world_size() == 1:
        return here
    import torch
    from accelerate import PartialState

    flag = torch.tensor(int(here), device=PartialState().device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


_reaction: Callable[[], None] | None = None


def when_launcher_ends(reaction: Callable[[], None]) -> None:
    """What to do when the launcher of this process ends; the first call begins to look."""
    global _reaction
    looking, _reaction = _reaction is not None, reaction
    launchers = [] if looking else _launchers()
    if launchers:
        threading.Thread(target=_look_after, args=(launchers,), daemon=True).start()


def follow_launcher() -> None:
    """End this process when its launcher ends, until training has something better to do then.

    A launcher that is killed leaves its processes behind: they would train on unseen and hold the run folder.
    """
    when_launcher_ends(_end_at_once)


def _look_after(launchers: list[tuple[int, str]]) -> None:
    while all(_birth(process) == birth for process, birth in launchers):
        time.sleep(LAUNCHER_POLL_SECONDS)
    if _reaction is not None:
        _reaction()


def _end_at_once() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _launchers() -> list[tuple[int, str]]:
    """The launcher above this process and those above it, as process ids with their times of birth."""
    found = []
    process = os.getppid()
    while process > 1 and _is_launcher(process):
        found.append((process, _birth(process)))
        process = _parent(process)
    return [(process, birth) for process, birth in found if birth]


def _is_launcher(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:6]
    except OSError:
        return False
    names = [os.path.basename(word) for word in words]
    return bool(_LAUNCHERS.intersection(names)) or ("rlkit" in names and "launch" in names)


def _status(process: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, ...; empty where there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _birth(process: int) -> str:
    """When a process was born, in clock ticks; empty where it has ended."""
    fields = _status(process)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _parent(process: int) -> int:
    fields = _status(process)
    return int(fields[1]) if fields else 0


def _lost_a_sibling() -> bool:
    """Whether another process of the run on this machine has ended: no step will ever end then."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
    if local == 1 or not Path("/proc").is_dir():
        return False
    parent = os.getppid()
    alive = 0
    for entry in Path("/proc").glob("[0-9]*"):
        process = int(entry.name)
        if _parent(process) == parent and _birth(process):
            try:
                alive += b"\0RANK=" in b"\0" + (entry / "environ").read_bytes()
            except OSError:
                continue
    return alive < local
