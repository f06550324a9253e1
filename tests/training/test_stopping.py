"""Signals are answered at the end of a round of completions, once, and by a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from rlkit import runs
from rlkit.runs import Run
from rlkit.training import stopping
from rlkit.training.callbacks import Stop


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "r")
    runs.hold(run)
    yield run
    runs.release(run)


def begin(stop: Stop) -> None:
    stop.on_train_begin(None, TrainerState(), TrainerControl())


def after_step(stop: Stop, step: int) -> TrainerControl:
    control = TrainerControl()
    stop.on_step_end(None, TrainerState(global_step=step), control)
    return control


def wait_for(stop: Stop) -> None:
    deadline = time.monotonic() + 30
    while stop.asked.reason is None and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_stops_at_the_end_of_a_round(run: Run, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    stop = Stop(run, every=4)
    begin(stop)
    assert not after_step(stop, 4).should_training_stop
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)  # a launcher passes on what the scheduler has sent already
    wait_for(stop)
    assert stop.asked.reason == number.name
    assert not after_step(stop, 6).should_training_stop
    control = after_step(stop, 8)
    assert control.should_training_stop
    assert control.should_save
    assert stop.at_step == 8
    assert "(stopping)" in (run.folder / ".lock").read_text()  # so that the next start waits
    stop.on_train_end(None, TrainerState(), TrainerControl())
    assert signal.getsignal(number) == signal.SIG_IGN  # the process ends by itself now
    signal.signal(number, before)


def test_without_a_signal_nothing_is_left_behind(run: Run) -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    stop = Stop(run, every=1)
    begin(stop)
    assert not after_step(stop, 1).should_save
    stop.on_train_end(None, TrainerState(), TrainerControl())
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


BLOCKED = """
import ctypes, sys
from pathlib import Path
from rlkit.runs import Run
from rlkit.training import stopping
stopping.ONE_SIGNAL_SECONDS = 0.2
stopping.Asked(Run(Path(sys.argv[1]))).listen()
print("ready", flush=True)
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(lock)
libc.pthread_mutex_lock(lock)  # waits for ever, and never returns to Python
"""


def test_a_second_signal_ends_a_process_that_hangs(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", BLOCKED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    time.sleep(1)
    assert process.poll() is None  # the first one waits for the step
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    process.stdout.close()


LAUNCHER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[-1]], env={**os.environ, "RANK": "0"})
time.sleep(600)
"""
RANK = """
import time
from rlkit.training.stopping import follow_launcher
follow_launcher()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("words", [["torchrun"], ["rlkit", "launch"], ["rlkit", "ablate"]])
def test_a_rank_ends_with_its_launcher(tmp_path: Path, words: list[str]) -> None:
    program = tmp_path / words[0]
    program.write_text(LAUNCHER)
    command = [sys.executable, str(program), *words[1:], RANK]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    launcher.kill()
    assert launcher.stdout.read() == ""  # the rank has closed it, as its last holder
    launcher.wait()
    launcher.stdout.close()


def test_a_rank_ends_whose_launcher_ended_before_it_could_look(tmp_path: Path) -> None:
    """The launcher was killed while the rank still imported: nothing above it is one, but it was told of one."""
    gone = subprocess.Popen([sys.executable, "-c", "from rlkit.training.stopping import told_launcher; print(told_launcher()['RLKIT_LAUNCHER'])"], stdout=subprocess.PIPE, text=True)  # fmt: skip
    told, _ = gone.communicate()
    rank = subprocess.run([sys.executable, "-c", RANK], env={**os.environ, "RLKIT_LAUNCHER": told.strip()}, timeout=60)
    assert rank.returncode == -signal.SIGKILL
