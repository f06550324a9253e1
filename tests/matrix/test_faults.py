"""Kills at random steps under every ZeRO stage, signals under every launcher, and a disk that is really full.

What the kills left of a stage that has passed is written to docs/faults.json and into the table of docs/faults.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import (
    SAME,
    VICTIMS,
    Launch,
    WarmLauncher,
    cold,
    deepspeed,
    differences,
    free_port,
    kill_often,
    last_step,
    told,
    until,
    write_stage,
)
from runs_for_real import ROOT, write_config

from rlkit.checkpoints import marked, step_of
from rlkit.runs import environment, write_json, write_text
from rlkit.training.stopping import EXIT_CODE

pytestmark = pytest.mark.matrix
KILLS, STEPS, SEED = 20, 60, "faults"
STAGES = (0, 1, 2, 3)
LONG = 30
COLD_EVERY = 10  # every tenth launch is the `deepspeed` command itself, with its imports
PAGE, RESULT = ROOT / "docs/faults.md", ROOT / "docs/faults.json"
BEGIN, END = "<!-- measured by tests/matrix/test_faults.py -->\n", "<!-- end -->\n"


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmLauncher]:
    with WarmLauncher() as launcher:
        yield launcher


def record(stage: int, found: dict[str, Any]) -> None:
    """Keep what a stage's kills left, and make the page's table anew from all stages."""
    here = environment(1)
    versions = {name: here["versions"][name] for name in ("torch", "deepspeed", "transformers", "trl")}
    stages = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    stages[str(stage)] = {"date": date.today().isoformat(), "versions": versions, **found}
    write_json(RESULT, dict(sorted(stages.items())))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, before + BEGIN + table(stages) + END + rest.partition(END)[2])


def table(stages: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of the kills, a line a stage."""
    head = ["ZeRO", "seed", "kills: rank 0, rank 1, launcher", "before the first step", "in a checkpoint"]
    head += ["lines that differ", "largest difference of a weight", "ended after at most"]
    rows = [head, ["---"] * len(head)]
    for number, stage in sorted(stages.items()):
        kills, found = stage["kills"], stage["differences"]
        victims = Counter(kill["victim"] for kill in kills)
        rows.append(
            [
                number,
                f"`{stage['seed']}`",
                f"{len(kills)}: {', '.join(str(victims[victim]) for victim in VICTIMS)}",
                str(sum(kill["at_step"] == kill["from_step"] for kill in kills)),
                str(sum(kill["in_a_save"] for kill in kills)),
                str(found["metrics.jsonl"] + found["samples.jsonl"]),
                "0 (same bytes)" if found["same bytes"] else f"{found['weights']:.1e}",
                f"{max(kill['all_ended_s'] for kill in kills):.1f} s",
            ]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@pytest.mark.parametrize("stage", STAGES)
def test_kills(stage: int, tmp_path: Path, warm: WarmLauncher) -> None:
    whole, killed = (write_stage(tmp_path, stage, name, max_steps=STEPS, save_steps=2) for name in ("whole", "killed"))
    first = warm.launch(tmp_path, "train", str(whole), log="whole.log")
    assert first.wait() == 0, first.output()[-3000:]

    def start(number: int) -> tuple[str, Launch]:
        if number % COLD_EVERY == COLD_EVERY - 1:
            return "deepspeed", deepspeed(tmp_path, "train", str(killed))
        return "warm", warm.launch(tmp_path, "train", str(killed))

    seed = f"{SEED}-{stage}"
    kills = kill_often(tmp_path, killed, seed, KILLS, start)
    found = differences(tmp_path / "whole", tmp_path / "killed")
    assert found == SAME
    record(stage, {"seed": seed, "steps": STEPS, "kills": told(kills), "differences": found})


def launched(by: str, folder: Path, *arguments: str) -> Launch:
    if by == "deepspeed":
        return deepspeed(folder, *arguments)
    if by == "torchrun":
        flags = ("--nproc_per_node", "2", "--master_port", str(free_port()), "-m", "rlkit")
        return cold(folder, "torchrun", *flags, *arguments)
    return cold(folder, sys.executable, "-m", "rlkit", *arguments)


def configured(by: str, folder: Path, name: str) -> Path:
    """So many steps that a signal finds the run at work, and no checkpoint but the last that the config asks for."""
    sizes = {"max_steps": LONG, "save_steps": LONG}
    if by == "deepspeed":
        return write_stage(folder, 2, name, **sizes)
    return write_config(folder, name, **sizes, per_device_train_batch_size=8 if by == "alone" else 4)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, warm: WarmLauncher) -> Callable[[str], Path]:
    """The run folder that a launcher leaves when nothing happens, made once."""
    made: dict[str, Path] = {}

    def of(by: str) -> Path:
        if by not in made:
            folder = tmp_path_factory.mktemp(by)
            config = configured(by, folder, "whole")
            launch = cold(folder, sys.executable, "-m", "rlkit", "train", str(config)) if by == "alone" else None
            launch = launch or warm.launch(folder, "train", str(config))
            assert launch.wait() == 0, launch.output()[-3000:]
            made[by] = folder / "whole"
        return made[by]

    return of


@pytest.mark.parametrize(
    ("by", "to", "number", "code"),
    [
        ("deepspeed", "a rank", signal.SIGTERM, EXIT_CODE),
        ("deepspeed", "everyone", signal.SIGTERM, -signal.SIGTERM),  # as Slurm does; `deepspeed` itself dies of it
        ("deepspeed", "the command", signal.SIGTERM, -signal.SIGTERM),
        ("torchrun", "a rank", signal.SIGUSR1, 1),
        ("torchrun", "the command", signal.SIGTERM, 1),
        ("alone", "the command", signal.SIGUSR1, EXIT_CODE),
    ],
)
def test_a_signal_saves(
    by: str, to: str, number: int, code: int, tmp_path: Path, uninterrupted: Callable[[str], Path], warm: WarmLauncher
) -> None:
    """Whoever is signalled: a checkpoint after one more step on all processes, and the same command goes on from it."""
    config, run = configured(by, tmp_path, "stopped"), tmp_path / "stopped"
    launch = launched(by, tmp_path, "train", str(config))
    until(lambda: last_step(run) >= 3 or not launch.runs(), "step 3")
    ranks = launch.ranks()
    targets = {
        "a rank": [rank.pid for rank in ranks[1:2]],
        "the command": [launch.pid],
        "everyone": [*(rank.pid for rank in ranks), *{rank.ppid() for rank in ranks}, launch.pid],
    }[to]
    at = last_step(run)
    for pid in targets:
        os.kill(pid, number)
    assert launch.wait() == code, launch.output()[-3000:]
    # Waits for processes that outlive their launcher. DeepSpeed's is warm here, its command is what has been signalled.
    start = warm.launch if by == "deepspeed" else partial(launched, by)
    again = start(tmp_path, "train", str(config))
    assert again.wait() == 0, again.output()[-3000:]
    stops = [step_of(checkpoint) or 0 for checkpoint in marked(run) if step_of(checkpoint) != LONG]
    assert len(stops) == 1
    assert at <= stops[0] < LONG
    assert differences(uninterrupted(by), run) == SAME


def test_a_full_disk(tmp_path: Path, warm: WarmLauncher) -> None:
    """A file system of 3 MB, which holds two checkpoints and no third."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3000k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        whole = write_stage(tmp_path, 2, "whole", max_steps=8, save_steps=2)
        small = write_stage(tmp_path, 2, "small", max_steps=8, save_steps=2, output_dir="disk/run")
        launch = warm.launch(tmp_path, "train", str(small), log="full")
        assert launch.wait() == 2, launch.output()[-3000:]
        assert launch.output().count("error: ") == 1
        assert "disk/run: nothing more could be written (" in launch.output()
        assert "free some space" in launch.output()
        assert [step_of(checkpoint) for checkpoint in marked(disk / "run")] == [4, 2]
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        launch = warm.launch(tmp_path, "train", str(small), log="more")
        assert launch.wait() == 0, launch.output()[-3000:]
        assert warm.launch(tmp_path, "train", str(whole), log="whole.log").wait() == 0
        assert differences(tmp_path / "whole", disk / "run") == SAME
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
