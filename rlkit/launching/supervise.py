"""One end for all: a launcher and everything that it starts end together, whichever of them is killed.

Launchers leave processes behind: a killed `deepspeed` leaves its workers, a killed `torchrun` leaves them in sessions of
their own. Here all of them carry a mark in their environment, by which they are found wherever they hang in the process
tree. A small second process, which only waits for this one to end, finds them after a SIGKILL. Knows nothing of training.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from rlkit.launching.ends import MARK, told_end

_POLL_SECONDS = 0.2
_LAST_WORDS_SECONDS = 10.0  # for helpers that a tracker leaves behind to upload the last lines
_FAR_SECONDS = 15.0  # for a launcher to stop what it has started on other machines
_SAME_SIGNAL_SECONDS = 3.0  # schedulers send one signal to several processes, which pass it on
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
# What says "I am process R of W": from an outer launcher it would be taken for that of the run.
_OF_A_PROCESS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def supervise(
    words: Sequence[str], environment: Mapping[str, str], grace_seconds: float, say: Callable[[str], None]
) -> int:
    """Run a launcher to its end and return the exit code of the run's processes, whatever the launcher makes of it.

    128 + N where signal N ended them without a code of their own. SIGTERM, SIGUSR1, SIGINT and SIGHUP go to the processes
    of the run themselves, because launchers give them no or too little time; after `grace_seconds`, or at a second
    signal, all are killed. Whatever ends this process ends them as well. Meant for the main thread of a command;
    processes on other machines are reached through their launcher only.
    """
    folder = tempfile.mkdtemp(prefix="rlkit-launch-")
    inherited = {name: value for name, value in environment.items() if name not in _OF_A_PROCESS}
    asked: list[tuple[int, float]] = []

    def note(signum: int, frame: FrameType | None) -> None:
        asked.append((signum, time.monotonic()))

    # What is ignored stays so: `nohup` and background jobs mean it.
    before = {s: signal.signal(s, note) for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN}
    # Sessions of their own: Ctrl-C reaches this process alone, which passes it on once.
    last = subprocess.Popen([sys.executable, "-m", __name__, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        launcher = subprocess.Popen(
            words, env={**inherited, MARK: folder}, stdin=subprocess.DEVNULL, start_new_session=True
        )
        code = _wait(launcher, folder, asked, grace_seconds, say)
        abandoned = _leave_none(folder, 0.0 if asked else grace_seconds, code, say)
        told = told_end(Path(folder))
    finally:
        last.communicate()  # closes its input: it ends what may be left, and itself
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if code == 0 and not abandoned:
        return 0
    if told is not None:
        return told
    return 128 + asked[0][0] if asked else code or 1


def _wait(
    launcher: subprocess.Popen[bytes],
    folder: str,
    asked: list[tuple[int, float]],
    grace_seconds: float,
    say: Callable[[str], None],
) -> int:
    passed = False
    while launcher.poll() is None:
        if asked and not passed:
            passed = True
            name = signal.Signals(asked[0][0]).name
            reached = _pass_on(folder, launcher, asked[0][0])
            say(
                f"{name} passed on to {reached}; killed if it has not ended in {grace_seconds:g} s, or at a second signal"
            )
        if asked and (_again(asked) or time.monotonic() - asked[0][1] > grace_seconds):
            say("killed")
            end(folder)
            launcher.wait()
        else:
            time.sleep(_POLL_SECONDS)
    return launcher.returncode if launcher.returncode >= 0 else 128 - launcher.returncode


def _again(asked: Sequence[tuple[int, float]]) -> bool:
    """Whether somebody has lost patience; a scheduler's one signal may come more than once."""
    first = asked[0][1]
    return any(signum == signal.SIGINT or when - first > _SAME_SIGNAL_SECONDS for signum, when in asked[1:])


def _pass_on(folder: str, launcher: subprocess.Popen[bytes], signum: int) -> str:
    workers = _workers(marked(folder))
    # A closed terminal asks for the same as a scheduler; launchers know no SIGUSR1.
    for worker in workers:
        _send(worker, signal.SIGTERM if signum == signal.SIGHUP else signum)
    if workers:
        return f"{len(workers)} processes"
    launcher.send_signal(signal.SIGINT if signum == signal.SIGINT else signal.SIGTERM)
    return "the launcher"


def _leave_none(folder: str, grace_seconds: float, code: int, say: Callable[[str], None]) -> bool:
    """End what the launcher has left, the run's own processes after time to save; returns whether there were such."""
    workers = _workers(marked(folder))
    if workers and grace_seconds:
        say(
            f"the launcher has ended (exit code {code}) and left {len(workers)} processes; they have {grace_seconds:g} s"
        )
        for worker in workers:
            _send(worker, signal.SIGTERM)
    deadline = time.monotonic() + (grace_seconds if workers else min(grace_seconds, _LAST_WORDS_SECONDS))
    while marked(folder) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    end(folder)
    return bool(workers)


def marked(folder: str) -> list[psutil.Process]:
    """Every living process of this machine that carries the mark of this launch."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == folder]


def end(folder: str) -> None:
    """Kill every process that carries the mark; a launcher whose workers are elsewhere may first stop those."""
    alive = marked(folder)
    if alive and not _workers(alive):
        outermost = [process for process in alive if _parent_of(process) not in {p.pid for p in alive}]
        for process in outermost:
            _send(process, signal.SIGTERM)
        _until_gone(outermost, _FAR_SECONDS)
        alive = marked(folder)
    deadline = time.monotonic() + 60
    while alive and time.monotonic() < deadline:  # one may be starting another just now
        for process in alive:
            _send(process, signal.SIGKILL)
        _until_gone(alive, 1.0)
        alive = marked(folder)


def _until_gone(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Not psutil.wait_procs, which would take a child's exit code from the one that started it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(MARK in _environment(process) for process in processes):
        time.sleep(0.05)


def _workers(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that train: they have a rank, and their parent has none. Their own children are theirs to end."""
    ranked = {process.pid for process in processes if "RANK" in _environment(process)}
    return [process for process in processes if process.pid in ranked and _parent_of(process) not in ranked]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # somebody else's, or gone
        return {}


def _parent_of(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _send(process: psutil.Process, signum: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signum)


def _wait_for_the_end(folder: str) -> None:
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    sys.stdin.buffer.read()  # nothing ever comes; it closes when the process at the other end has gone, however
    end(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _wait_for_the_end(sys.argv[1])
