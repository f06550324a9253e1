"""`rlkit launch` over the real launchers, and the Slurm script over a Slurm of twenty lines: stopped, killed, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from runs_for_real import ROOT, environment, lines, start, write_config

from rlkit.launching.ends import MARK

ZERO2 = str(ROOT / "configs/deepspeed/zero2.json")
SCRIPT = ROOT / "examples/slurm/train.sbatch"
# As many tasks as nodes, each told its number; SIGTERM goes to all; the highest exit code is srun's own.
SRUN = """
import os, signal, subprocess, sys
words = sys.argv[1:]
count = 1
while words[0].startswith("--"):
    option = words.pop(0)
    if option.startswith("--ntasks="):
        count = int(option.partition("=")[2])
tasks = [subprocess.Popen(words, env={**os.environ, "SLURM_PROCID": str(number)}) for number in range(count)]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """
import sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print(sys.argv[3].replace(",", "\\n"))
else:
    open("scontrol.log", "a").write(" ".join(sys.argv[1:]) + "\\n")
"""


def until(happened: Callable[[], bool], what: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 420
    while not happened():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            pytest.fail(f"waited in vain for {what}: {process.communicate()[0]}")
        time.sleep(0.02)


def steps(run: Path) -> int:
    journal = run / "metrics.jsonl"
    return len(journal.read_bytes().splitlines()) if journal.is_file() else 0


def launched(folder: Path) -> list[int]:
    """The processes in `folder` that some `rlkit launch` has started, launchers and all."""
    found = []
    for process in psutil.process_iter():
        try:
            if MARK in process.environ() and process.cwd() == str(folder):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.mark.slow
def test_a_killed_launch_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=24, deepspeed=ZERO2)
    command = (sys.executable, "-m", "rlkit", "launch", str(config), "--gpus", "2")
    first = start(tmp_path, *command)
    until(lambda: steps(tmp_path / "run") >= 3, "steps", first)  # the checkpoint of step 2 is whole then
    assert len(launched(tmp_path)) >= 4  # DeepSpeed's two launchers, two processes
    first.send_signal(signal.SIGKILL)
    output, _ = first.communicate()
    deadline = time.monotonic() + 60
    while launched(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not launched(tmp_path)
    assert not (tmp_path / "run/done.json").exists(), output

    again = start(tmp_path, *command, "--resume", "--launcher", "torchrun")
    output, _ = again.communicate(timeout=600)
    assert again.returncode == 0, output
    assert "grpo 1/24" not in output
    assert [row["step"] for row in lines(tmp_path / "run/metrics.jsonl")] == list(range(1, 25))
    assert json.loads((tmp_path / "run/environment.json").read_text())["processes"] == 2


def slurm(folder: Path, nodes: str, **variables: str) -> dict[str, str]:
    """A folder of programs that stand for Slurm's, and the variables that Slurm sets."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, code in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(f"#!{sys.executable}\n{code}")
        (programs / name).chmod(0o755)
    known = environment(folder)
    return {
        **known, "PATH": f"{programs}{os.pathsep}{known['PATH']}", "SLURM_JOB_NODELIST": nodes,
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_GPUS_ON_NODE": "1", **variables,
    }  # fmt: skip


def submit(folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


@pytest.mark.matrix  # tests/test_slurm.py tries the script itself, without a training
def test_a_preempted_job_saves_is_queued_again_and_ends(tmp_path: Path) -> None:
    """Two nodes of one process, which meet over loopback: told to stop as Slurm does it, and started again."""
    config = write_config(tmp_path, per_device_train_batch_size=4, max_steps=40, save_steps=40, deepspeed=ZERO2)
    variables = slurm(tmp_path, "127.0.0.1,127.0.0.2")
    job = submit(tmp_path, variables, str(config))
    until(lambda: steps(tmp_path / "run") >= 3, "steps", job)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=300)
    assert job.returncode == 85, output
    assert (tmp_path / "scontrol.log").read_text() == f"requeue {os.getpid()}\n"
    stopped_at = steps(tmp_path / "run")
    assert 3 <= stopped_at < 40
    assert (tmp_path / f"run/checkpoint-{stopped_at}").is_dir()
    assert not launched(tmp_path)

    job = submit(tmp_path, variables, str(config))
    output, _ = job.communicate(timeout=600)
    assert job.returncode == 0, output
    assert "grpo 1/40" not in output
    assert [row["step"] for row in lines(tmp_path / "run/metrics.jsonl")] == list(range(1, 41))
    assert (tmp_path / "scontrol.log").read_text().count("requeue") == 1
