"""Runs on two processes that are killed and started again, and what is left of them compared with an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from runs_for_real import ROOT, environment, lines, write_config

from rlkit.checkpoints import marked, step_of

# How long something took and how full memory was differ between any two runs.
MEASURED = ("step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second")
VICTIMS = ("first rank", "second rank", "launcher")
SAME = {"metrics.jsonl": 0, "samples.jsonl": 0, "weights": 0.0, "same bytes": True, "plan": True}
LONGEST_S = 1800.0  # for anything that is waited for: a busy machine may take long, a hang takes for ever
END_S = 120.0  # all processes of a run have ended so long after one of them was killed


def what_was_computed(journal: Path) -> list[dict[str, Any]]:
    """The lines of a journal without what was measured, so that two runs can be compared."""
    return [
        {k: v for k, v in row.items() if not k.endswith(MEASURED) and not k.startswith("time/") and v == v}
        for row in lines(journal)
    ]


def write_stage(folder: Path, stage: int, name: str, **train: Any) -> Path:
    """A config for two processes under a ZeRO stage."""
    settings = json.loads((ROOT / f"configs/deepspeed/zero{max(stage, 1)}.json").read_text())
    settings["zero_optimization"]["stage"] = stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"zero{stage}.json").write_text(json.dumps(settings))
    return write_config(folder, name, per_device_train_batch_size=4, deepspeed=f"zero{stage}.json", **train)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Launch:
    """A launch under way: its launcher, its ranks as soon as they are there, its end."""

    pid: int
    log: Path
    _wait: Callable[[], int]

    def ranks(self) -> list[psutil.Process]:
        """The ranks in order; fewer while they are being started."""
        try:
            launcher = psutil.Process(self.pid)
            below = launcher.children()
            if len(below) == 1 and "deepspeed.launcher.launch" in below[0].cmdline():  # under the `deepspeed` command
                below = below[0].children()
            return sorted(below, key=lambda process: process.pid)
        except psutil.Error:
            return []

    def runs(self) -> bool:
        """Whether the launcher is still there."""
        return psutil.pid_exists(self.pid) and alive(psutil.Process(self.pid))

    def wait(self) -> int:
        return self._wait()

    def output(self) -> str:
        """What all launches with this log have printed so far."""
        return self.log.read_text(errors="replace")


class WarmLauncher:
    """Launches under DeepSpeed's launcher from a process that has imported everything."""

    def __init__(self) -> None:
        program = str(Path(__file__).with_name("warm_launcher.py"))
        self.process = subprocess.Popen(
            [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def launch(
        self,
        folder: Path,
        *arguments: str,
        log: str = "log",
        processes: int = 2,
        max_file_bytes: int = 0,
        host: str = "",
    ) -> Launch:
        """`rlkit` and the arguments on so many processes; with a limit on what a file may hold, on a host of another name."""
        pid = self._ask(
            folder=str(folder), arguments=arguments, environment=environment(folder), processes=processes,
            port=free_port(), log=str(folder / log), max_file_bytes=max_file_bytes, host=host,
        )  # fmt: skip
        return Launch(pid, folder / log, lambda: self._ask(wait=pid))

    def _ask(self, **request: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> WarmLauncher:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


def cold(folder: Path, *command: str, log: str = "log") -> Launch:
    """A command as a user types it."""
    with (folder / log).open("a") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=out, stderr=out)
    return Launch(process.pid, folder / log, lambda: process.wait(LONGEST_S))


def deepspeed(folder: Path, *arguments: str, log: str = "log") -> Launch:
    flags = ("--num_gpus", "2", "--master_port", str(free_port()), "--no_local_rank", "--module", "rlkit")
    return cold(folder, "deepspeed", *flags, *arguments, log=log)


def until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def last_step(run: Path) -> int:
    """The last step in metrics.jsonl, 0 where there is none."""
    try:
        written = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    except OSError:
        return 0
    whole = [line for line in written if line.endswith(b"\n")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


def taken(launch: Launch, run: Path) -> None:
    """Wait until a launch has taken the folder, which cuts the journals: before that, they tell of an earlier one."""
    newest = marked(run)[:1] if run.is_dir() else []
    begin = (step_of(newest[0]) or 0) if newest else 0
    until(lambda: last_step(run) <= begin or not launch.runs(), "the start")


@dataclass
class Kill:
    """One kill: who, when, and what it found and left."""

    victim: str
    launcher: str
    from_step: int
    at_step: int
    delay_s: float
    in_a_save: bool = False
    exit_code: int = 0
    all_ended_s: float = 0.0


def kill(launch: Launch, run: Path, plan: Kill) -> None:
    """Kill as planned, and wait until no process of the launch is left."""
    if plan.at_step == plan.from_step:  # before its first step
        until(lambda: len(launch.ranks()) == 2, "two ranks")
    else:
        until(lambda: last_step(run) >= plan.at_step or (run / "done.json").exists(), f"step {plan.at_step}")
    time.sleep(plan.delay_s)
    ranks = launch.ranks()
    assert len(ranks) == 2, launch.output()[-3000:]
    everyone = [*ranks, *psutil.Process(launch.pid).children(recursive=True), psutil.Process(launch.pid)]
    victim = {"first rank": ranks[0].pid, "second rank": ranks[1].pid, "launcher": launch.pid}[plan.victim]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    plan.in_a_save = any(run.glob("checkpoint-*")) and len(list(run.glob("checkpoint-*"))) > len(marked(run))
    assert not (run / "done.json").exists(), "the run was over before it could be killed"
    plan.exit_code = launch.wait()
    until(lambda: not any(alive(process) for process in everyone), "the end of the processes that were left")
    plan.all_ended_s = round(time.monotonic() - killed, 2)
    assert plan.exit_code != 0
    assert plan.all_ended_s < END_S


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def kill_often(
    folder: Path, config: Path, seed: str, kills: int, start: Callable[[int], tuple[str, Launch]]
) -> list[Kill]:
    """Start a run again and again, each time killed somewhere, and at last let it end.

    Whom and when is drawn from the seed: while the processes start, or after 1 to 3 more steps, and up to half a second
    later, which is the length of a step and its checkpoint. Of three kills in a row each victim is one.
    """
    run = folder / config.stem
    draw = random.Random(seed)
    victims = [victim for _ in range(-(-kills // 3)) for victim in draw.sample(VICTIMS, 3)]
    done = []
    for number in range(kills):
        newest = marked(run)[:1] if run.is_dir() else []
        begin = (step_of(newest[0]) or 0) if newest else 0
        wait = draw.choice((0, 1, 1, 2, 2, 3))
        launcher, launch = start(number)
        taken(launch, run)
        plan = Kill(victims[number], launcher, begin, begin + wait, round(draw.uniform(0, 0.5 if wait else 3), 3))
        kill(launch, run, plan)
        done.append(plan)
    _, launch = start(kills)
    code = launch.wait()
    assert code == 0, launch.output()[-5000:]
    return done


def differences(one: Path, other: Path) -> dict[str, Any]:
    """How far two runs are apart: lines of the journals that differ, and the largest difference of a weight."""
    from safetensors.numpy import load_file

    found: dict[str, Any] = {}
    for name in ("metrics.jsonl", "samples.jsonl"):
        a, b = what_was_computed(one / name), what_was_computed(other / name)
        found[name] = sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
    weights = [load_file(folder / "model/model.safetensors") for folder in (one, other)]
    found["weights"] = max(float(abs(weights[0][name] - weights[1][name]).max()) for name in weights[0])
    found["same bytes"] = (one / "model/model.safetensors").read_bytes() == (
        other / "model/model.safetensors"
    ).read_bytes()
    facts = [json.loads((folder / "done.json").read_text()) for folder in (one, other)]
    found["plan"] = all(facts[0][name] == facts[1][name] for name in ("steps", "plan", "rounds", "rows"))
    return found


def told(kills: list[Kill]) -> list[dict[str, Any]]:
    return [asdict(each) for each in kills]
