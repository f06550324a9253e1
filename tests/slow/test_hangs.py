"""A reward that hangs in one process ends the other one as well, though nothing else would end it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lone_ranks import both, write_bad_config

pytestmark = pytest.mark.slow


def test_a_reward_that_sleeps_in_one_process_ends_both(tmp_path: Path) -> None:
    first, second = both(write_bad_config(tmp_path), "sleeps")
    assert (first.code, second.code) == (2, 2)
    said = first.printed + second.printed
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said
    assert "[process 1] error: reward 'bad' (bad) failed on row synthetic-train-easy-" in second.printed
    assert "4 completions were not scored within 3 s (scoring.timeout_seconds)" in second.printed
    assert abs(first.after - second.after) < 60  # not the half hour of train.ddp_timeout
