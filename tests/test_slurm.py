"""The Slurm script: sound bash, and the right steps on the right nodes; tests/slow trains with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples/slurm/train.sbatch"
# Notes how it is called; a server waits for its SIGTERM, anything else ends with the code that the test wants.
SRUN = """
import os, signal, sys, time
server = "--vllm-server" in sys.argv
def asked(*_):
    open("calls", "a").write("asked server\\n" if server else "asked training\\n")
    sys.exit(143)
signal.signal(signal.SIGTERM, asked)
open("calls", "a").write(" ".join(word for word in sys.argv[1:] if "exec" not in word) + "\\n")
while server or os.environ["TRAINING"] == "waits":
    time.sleep(0.02)
time.sleep(0.3)
sys.exit(int(os.environ["TRAINING"]))
"""
SCONTROL = """
import sys
print(sys.argv[3].replace(",", "\\n")) if sys.argv[1] == "show" else open("calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
"""


def submit(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    for name, code in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(f"#!{sys.executable}\n{code}")
        (folder / name).chmod(0o755)
    known = {
        **os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "SLURM_JOB_ID": "41",
        "SLURM_JOB_NODELIST": "a,b,c", "SLURM_GPUS_ON_NODE": "8", "TRAINING": "0", **variables,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", str(SCRIPT), *arguments], cwd=folder, env=known, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").is_file() else []


def test_bash_reads_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--severity=warning", str(SCRIPT)], check=True)


def test_every_node_trains(tmp_path: Path) -> None:
    job = submit(tmp_path, "x.yaml", "train.max_steps=4")
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0, output
    (step,) = calls(tmp_path)
    assert "--nodes=3 --ntasks=3 --ntasks-per-node=1 --kill-on-bad-exit=1 --nodelist=a,b,c" in step
    assert "launch x.yaml train.max_steps=4 --launcher torchrun --gpus 8 --nodes 3 --rdzv a:20041" in step


@pytest.mark.parametrize(("code", "queued"), [(0, False), (85, True), (2, False), (1, False)])
def test_only_a_stopped_run_is_queued_again(tmp_path: Path, code: int, queued: bool) -> None:
    job = submit(tmp_path, "x.yaml", TRAINING=str(code))
    output, _ = job.communicate(timeout=60)
    assert job.returncode == code, output
    assert ("requeue 41" in calls(tmp_path)) == queued


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_stops_the_training_first(tmp_path: Path, number: signal.Signals) -> None:
    job = submit(tmp_path, "x.yaml", VLLM_GPUS="4", TRAINING="waits")
    deadline = time.monotonic() + 60
    while len(calls(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    steps = sorted(calls(tmp_path), key=lambda step: "--vllm-server" not in step)
    assert steps[0].startswith("--nodes=1 --ntasks=1 --nodelist=a rlkit launch x.yaml train.use_vllm=true")
    assert "train.vllm_mode=server train.vllm_server_host=a " in steps[0]
    assert "--vllm-server --gpus 4" in steps[0]
    assert "--nodes=2 --ntasks=2" in steps[1]
    assert "--nodelist=b,c" in steps[1]
    assert "train.vllm_server_host=a " in steps[1]
    assert "--gpus 8 --nodes 2 --rdzv b:20041" in steps[1]
    job.send_signal(number)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 143, output
    assert calls(tmp_path)[2:] == ["asked training", "asked server", "requeue 41"]


def test_wrong_uses_are_refused(tmp_path: Path) -> None:
    job = submit(tmp_path)
    assert "usage: sbatch --nodes N" in job.communicate(timeout=60)[0]
    assert job.returncode == 2
    job = submit(tmp_path, "x.yaml", VLLM_GPUS="4", SLURM_JOB_NODELIST="a")
    assert "give sbatch --nodes 2 or more" in job.communicate(timeout=60)[0]
    assert job.returncode == 2
    assert calls(tmp_path) == []
