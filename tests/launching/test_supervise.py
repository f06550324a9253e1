"""Whatever is killed, launcher and workers end together; exit codes and signals arrive where they belong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

# A launcher like torchrun: workers in sessions of their own; it ends with 1 when one of them fails.
LAUNCHER = """
import os, subprocess, sys
workers = [subprocess.Popen([sys.executable, "worker.py"], start_new_session=True, env={**os.environ, "RANK": str(rank)})
           for rank in range(2)]
open("launcher", "w").write(str(os.getpid()))
sys.exit(any([worker.wait() for worker in workers]))
"""
# A worker notes its process id and every SIGTERM; how it ends is the test's matter.
WORKER = """
import os, pathlib, signal, subprocess, sys, time
from rlkit.launching.ends import tell_end
rank = os.environ["RANK"]
def asked(signum, frame):
    with open(f"signals{rank}", "a") as file:
        file.write(signal.Signals(signum).name + " ")
    if END == "save":
        tell_end(85)
        sys.exit(85)
    if END == "at once":
        sys.exit(3)
signal.signal(signal.SIGTERM, asked)
signal.signal(signal.SIGUSR1, asked)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # as a data loader's worker
pathlib.Path(f"child{rank}").write_text(str(child.pid))
pathlib.Path(f"worker{rank}").write_text(str(os.getpid()))
while END != "fail":
    time.sleep(0.05)
child.kill()
tell_end(7 if rank == "1" else 0)
sys.exit(7 if rank == "1" else 0)
"""
COMMAND = """
import os, sys
from rlkit.launching.supervise import supervise
sys.exit(supervise([sys.executable, *sys.argv[2:]], os.environ, float(sys.argv[1]), lambda text: print(text, flush=True)))
"""
LONGEST_S = 60.0


class Launch:
    """The command under test over a fake launcher, in a folder that its processes leave their ids in."""

    def __init__(self, folder: Path, end: str, *words: str, grace: float = 30.0) -> None:
        self.folder = folder
        (folder / "launcher.py").write_text(LAUNCHER)
        (folder / "worker.py").write_text(f"END = {end!r}\n{WORKER}")
        (folder / "temporary").mkdir()
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(grace), *(words or ("launcher.py",))],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": root, "RANK": "9", "TMPDIR": str(folder / "temporary")},
        )  # fmt: skip

    def ids(self) -> list[int]:
        """Launcher, workers and their children, as soon as all are there."""
        names = ("launcher", "worker0", "worker1", "child0", "child1")
        files = [self.folder / name for name in names]
        until(lambda: all(file.is_file() and file.read_text() for file in files), "the processes")
        return [int(file.read_text()) for file in files]

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=LONGEST_S)
        return output


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launch]:
    return lambda end, *words, **options: Launch(tmp_path, end, *words, **options)


def until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_end(processes: list[int]) -> None:
    until(lambda: not any(alive(process) for process in processes), "the end of all processes")


def test_exit_codes_pass_through(launch: Callable[..., Launch]) -> None:
    first = launch("fail")  # worker 1 ends with 7, of which the launcher makes 1
    assert first.finish() == ""
    assert first.process.returncode == 7
    assert not list((first.folder / "temporary").iterdir())


@pytest.mark.parametrize(
    ("code", "expected"), [("0", 0), ("5", 5), ("'a message'", 1), ("os.kill(os.getpid(), 9)", 137)]
)
def test_the_launchers_own_code_where_no_worker_tells_one(
    launch: Callable[..., Launch], code: str, expected: int
) -> None:
    words = ("-c", f"import os, sys; sys.exit({code})")
    done = launch("fail", *words)
    done.finish()
    assert done.process.returncode == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_signal_reaches_the_workers_once_and_their_code_comes_back(
    launch: Callable[..., Launch], number: signal.Signals
) -> None:
    run = launch("save")
    processes = run.ids()
    run.process.send_signal(number)
    output = run.finish()
    all_end(processes)
    assert run.process.returncode == 85
    expected = "SIGUSR1 " if number == signal.SIGUSR1 else "SIGTERM "
    assert [(run.folder / f"signals{rank}").read_text() for rank in range(2)] == [expected] * 2
    assert f"{number.name} passed on to 2 processes" in output


def test_ctrl_c_ends_all(launch: Callable[..., Launch]) -> None:
    run = launch("ignore")
    processes = run.ids()
    run.process.send_signal(signal.SIGINT)
    output = run.finish()
    all_end(processes)
    assert run.process.returncode == 130, output


@pytest.mark.parametrize("end", ["ignore", "at once"])
def test_after_the_grace_all_are_killed(launch: Callable[..., Launch], end: str) -> None:
    run = launch(end, grace=0.5)
    processes = run.ids()
    run.process.terminate()
    output = run.finish()
    all_end(processes)
    assert run.process.returncode == 143
    assert ("killed\n" in output) == (end == "ignore")


def test_a_second_ctrl_c_does_not_wait(launch: Callable[..., Launch]) -> None:
    run = launch("ignore", grace=600.0)
    processes = run.ids()
    run.process.terminate()
    run.process.terminate()  # a scheduler's signal that comes twice is one
    until(lambda: (run.folder / "signals1").is_file(), "the signal")
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    run.finish()
    all_end(processes)
    assert run.process.returncode == 143


@pytest.mark.parametrize("group", [False, True])
def test_nothing_outlives_the_killed_command(launch: Callable[..., Launch], group: bool) -> None:
    run = launch("ignore")
    processes = run.ids()
    (os.killpg if group else os.kill)(run.process.pid, signal.SIGKILL)
    all_end(processes)
    run.finish()
    until(lambda: not list((run.folder / "temporary").iterdir()), "the end of the folder")


@pytest.mark.parametrize(("end", "expected"), [("save", 85), ("ignore", 137)])
def test_nothing_outlives_the_killed_launcher(launch: Callable[..., Launch], end: str, expected: int) -> None:
    """What it leaves may save first; it is killed when its time is over."""
    run = launch(end, grace=1.0)
    processes = run.ids()
    os.kill(processes[0], signal.SIGKILL)
    output = run.finish()
    all_end(processes)
    assert run.process.returncode == expected
    assert "left 2 processes; they have 1 s" in output


def test_a_launcher_that_leaves_workers_has_not_succeeded(launch: Callable[..., Launch]) -> None:
    """DeepSpeed's runner ends with 0 when the launcher under it is killed."""
    words = (
        "-c",
        LAUNCHER.replace("sys.exit(any([worker.wait() for worker in workers]))", "import time; time.sleep(1)"),
    )
    run = launch("ignore", *words, grace=2.0)
    processes = run.ids()
    run.finish()
    all_end(processes)
    assert run.process.returncode == 1


def test_the_place_of_an_outer_process_is_not_handed_on(launch: Callable[..., Launch]) -> None:
    """The command itself runs with RANK=9 here: the launcher must not."""
    done = launch("fail", "-c", "import os; print({'RANK', 'MASTER_ADDR'} & os.environ.keys())")
    assert done.finish() == "set()\n"
