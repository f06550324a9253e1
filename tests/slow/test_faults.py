"""One run on two processes that everything happens to: it ends as the one that nothing happened to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import SAME, Kill, WarmLauncher, differences, kill, last_step, taken, until, write_stage

from rlkit.checkpoints import marked, step_of
from rlkit.training.stopping import EXIT_CODE

pytestmark = pytest.mark.slow
STEPS = 16


@pytest.fixture
def warm() -> Iterator[WarmLauncher]:
    with WarmLauncher() as launcher:
        yield launcher


def test_everything_happens_to_a_run(tmp_path: Path, warm: WarmLauncher) -> None:
    whole = write_stage(tmp_path, 2, "whole", max_steps=STEPS, save_steps=2)
    tried = write_stage(tmp_path, 2, "tried", max_steps=STEPS, save_steps=2, save_total_limit=3)
    run, train = tmp_path / "tried", ("train", str(tried))

    for victim, begin, at in (("second rank", 0, 1), ("first rank", 0, 3), ("launcher", 2, 4)):
        launch = warm.launch(tmp_path, *train)
        taken(launch, run)
        kill(launch, run, Kill(victim, "warm", begin, at, 0.05))

    # One process is told to stop: all do, after the same step, and say so; the next signal comes too late to matter.
    before = step_of(marked(run)[0]) or 0
    launch = warm.launch(tmp_path, *train)
    taken(launch, run)
    until(lambda: last_step(run) > before or not launch.runs(), "a step")
    os.kill(launch.ranks()[1].pid, signal.SIGTERM)
    assert launch.wait() == EXIT_CODE
    stopped = step_of(marked(run)[0]) or 0
    assert stopped > before
    assert last_step(run) == stopped
    assert f"tried: stopped after step {stopped} by a signal to another process" in launch.output()

    # The newest checkpoint is cut short; a second run wants the same folder meanwhile.
    newest = marked(run)[0]
    with next(newest.glob("global_step*/zero_pp_rank_1_*")).open("rb+") as file:
        file.truncate(1000)
    launch = warm.launch(tmp_path, *train, log="damaged", host="node-7")
    until(lambda: (run / f"damaged-{newest.name}").is_dir(), "the damaged checkpoint to be set aside")
    os.kill(launch.ranks()[0].pid, signal.SIGSTOP)  # so that it does not end meanwhile
    second = warm.launch(tmp_path, *train, log="second")
    assert second.wait() == 2
    os.kill(launch.ranks()[0].pid, signal.SIGCONT)
    assert f"tried: process {launch.ranks()[0].pid} on " in second.output()
    assert "is training in this folder; wait for it, stop it" in second.output()
    if os.getuid() == 0:
        assert "on node-7 is training" in second.output()
    os.kill(launch.pid, signal.SIGKILL)  # its processes save and leave; who comes next waits for them
    launch.wait()
    assert "_optim_states.pt has 1,000 bytes where" in launch.output()

    # The optimizer's files no longer fit.
    begun = time.monotonic()
    launch = warm.launch(tmp_path, *train, log="full", max_file_bytes=200_000)
    assert launch.wait() == 2
    assert time.monotonic() - begun < 120
    assert launch.output().count("error: ") == 1, launch.output()
    assert "tried: nothing more could be written (" in launch.output()
    assert not (run / "done.json").exists()

    launch = warm.launch(tmp_path, *train, log="last")
    assert launch.wait() == 0, launch.output()[-3000:]
    assert warm.launch(tmp_path, "train", str(whole), log="whole.log").wait() == 0
    assert differences(tmp_path / "whole", run) == SAME
    assert [step_of(path) for path in marked(run)] == [16, 14, 12]  # save_total_limit
