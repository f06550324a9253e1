"""Two training processes without a launcher, as on two nodes: none ends because the other one has.

Their reward does what the variable BAD says, in the second process, once the first step is logged.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from faults import free_port
from runs_for_real import ROOT, environment, write_config

REWARD = """
import os, random, time

def bad(sample):
    kind, rank = os.environ["BAD"], os.environ["RANK"]
    if kind == "random":
        return random.random()
    if kind == "differs":
        return float(rank)
    if kind in ("raises", "sleeps", "swallows") and rank == "1" or kind == "all raise":
        if os.path.exists("run/metrics.jsonl"):
            if "raise" in kind:
                raise KeyError("no such town")
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    if kind == "sleeps":
                        raise
    return 0.5
"""
TIMEOUT_SECONDS = 3
LONGEST_SECONDS = 900  # of a run that takes seconds on a machine with nothing else to do


@dataclass(frozen=True)
class Ended:
    """How a process has ended: its exit code, what it printed, and when, in seconds since it was started."""

    code: int
    printed: str
    after: float


def write_bad_config(folder: Path, *, deepspeed: bool = True, **sections: Any) -> Path:
    """A run of two processes with one part from `bad_reward.py`."""
    zero = {"deepspeed": str(ROOT / "configs/deepspeed/zero1.json")} if deepspeed else {}
    path = write_config(folder, per_device_train_batch_size=4, max_steps=4, **zero)
    (folder / "bad_reward.py").write_text(REWARD, encoding="utf-8")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["rewards"] = {
        "accuracy": {"use": "token_f1", "weight": 0.5},
        "bad": {"use": "bad_reward:bad", "weight": 0.5},
    }
    config["scoring"] = {"timeout_seconds": TIMEOUT_SECONDS}
    path.write_text(yaml.safe_dump({**config, **sections}), encoding="utf-8")
    return path


def both(config: Path, bad: str, *overrides: str, paths: tuple[str, str] = ("", "")) -> tuple[Ended, Ended]:
    """Train in two processes and wait until both have ended; `paths` are put before each one's PYTHONPATH."""
    folder = config.parent
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "BAD": bad}
    group["MASTER_PORT"] = str(free_port())
    running, outputs = [], [folder / f"printed{rank}" for rank in (0, 1)]
    for rank, output in enumerate(outputs):
        env = {**environment(folder), **group, "RANK": str(rank), "PYTHONFAULTHANDLER": "1"}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (paths[rank], env["PYTHONPATH"])))
        with output.open("w") as file:
            command = (sys.executable, "-m", "rlkit", "train", str(config), *overrides)
            running.append(subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT))
    started, ends = time.monotonic(), {}
    try:
        while len(ends) < 2 and time.monotonic() - started < LONGEST_SECONDS:
            for rank, process in enumerate(running):
                if process.poll() is not None:
                    ends.setdefault(rank, time.monotonic() - started)
            time.sleep(0.05)
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGABRT)  # with faulthandler: says where it is
            process.wait()
    assert len(ends) == 2, f"still there: {[output.read_text()[-6000:] for output in outputs]}"
    first, second = (
        Ended(process.returncode, output.read_text(), ends[rank])
        for rank, (process, output) in enumerate(zip(running, outputs, strict=True))
    )
    return first, second
