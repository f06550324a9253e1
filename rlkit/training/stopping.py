"""A run that is told to stop: by SIGTERM or SIGUSR1, or because its launcher is gone.

All processes then stop after the same step, with a checkpoint from which the same command goes on (`callbacks.Stop`).
Knows signals and processes; refuses to know what is trained.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlkit.runs import Run, tell_stopping
from rlkit.training import processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what Slurm, Kubernetes and launchers send
EXIT_CODE = 85  # not 143, which a process that was killed without saving has as well
ONE_SIGNAL_SECONDS = 3.0  # launchers pass on what the scheduler has sent to every process already
LAUNCHER_POLL_SECONDS = 0.5
LAUNCHER = "RLKIT_LAUNCHER"  # the variable that names it: process id and time of birth
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


class Asked:
    """Whether a process has been asked to stop, and by what (`reason`), between `listen()` and `deaf()`.

    A second signal ends the process at once; so does the first where another process of the run on this machine is dead
    already, because then no step will ever end.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reason: str | None = None
        self._first_signal = 0.0
        self._write_end = -1
        self._siblings: list[tuple[int, str]] = []
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Take the signals over, and that of a launcher that ends."""
        when_launcher_ends(self._launcher_gone)
        self._siblings = _siblings() if processes.world_size() > 1 else []
        if threading.current_thread() is not threading.main_thread():
            return  # a trainer inside somebody else's program: its signals are theirs
        # A thread reads the signals, so that a second one ends a process whose main thread waits for another process.
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        threading.Thread(target=self._read_signals, args=(read_end,), daemon=True).start()
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)

    def deaf(self, stopped: bool) -> None:
        """Give the signals back; a process that has `stopped` is told so once more by its launcher, and passes over it."""
        when_launcher_ends(_end_at_once)
        if not self._before:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if stopped else handler)
        self._before = {}
        os.close(self._write_end)  # ends the thread

    def anywhere(self) -> bool:
        """Whether any process of the run has been asked; all have to call this together."""
        here = self.reason is not None
        if processes.world_size() == 1:
            return here
        import torch
        from accelerate import PartialState

        flag = torch.tensor(int(here), device=PartialState().device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _read_signals(self, read_end: int) -> None:
        while numbers := os.read(read_end, 1):
            if numbers[0] in SIGNALS:
                self._signalled(signal.Signals(numbers[0]))
        os.close(read_end)

    def _signalled(self, number: signal.Signals) -> None:
        again = self._first_signal and time.monotonic() - self._first_signal > ONE_SIGNAL_SECONDS
        if again or any(_birth(process) != birth for process, birth in self._siblings):
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
        if self.reason is None:
            self.reason = what
            if processes.rank() == 0:
                tell_stopping(self.run)


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


def told_launcher() -> dict[str, str]:
    """What a launcher puts into the environment of the processes that it starts, so that they know it even if it ends while they start.

    >>> list(told_launcher())
    ['RLKIT_LAUNCHER']
    """
    return {LAUNCHER: f"{os.getpid()} {_birth(os.getpid())}"}


def _launchers() -> list[tuple[int, str]]:
    """The launcher above this process and those above it, as process ids with their times of birth; one that was told may have ended."""
    process, _, birth = os.environ.get(LAUNCHER, "").partition(" ")
    told = [(int(process), birth)] if process.isdecimal() and birth else []
    return [*told, *_running_launchers()]


def _running_launchers() -> list[tuple[int, str]]:
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
    return bool(_LAUNCHERS.intersection(names)) or ("rlkit" in names and bool({"launch", "ablate"}.intersection(names)))


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


def _siblings() -> list[tuple[int, str]]:
    """The processes of the run on this machine, as process ids with their times of birth."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        process = int(entry.name)
        if _parent(process) == os.getppid():
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
                if b"\0RANK=" in b"\0" + (entry / "environ").read_bytes():
                    found.append((process, _birth(process)))
    return found
