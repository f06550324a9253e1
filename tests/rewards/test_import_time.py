"""Importing the rewards is cheap and loads nothing of what trains."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "deepspeed",
    "numpy",
    "pandas",
    "hypothesis",
    "rlkit",
    "curricula",
)
CODE = """
import sys, time
start = time.perf_counter()
import json, dataclasses, inspect, difflib, datetime, functools, importlib.util, logging, rapidfuzz.fuzz
base = time.perf_counter() - start
start = time.perf_counter()
import {module}
own = time.perf_counter() - start
print(json.dumps({{"base": base, "own": own, "loaded": sorted(sys.modules)}}))
"""  # fmt: skip


def imported(module):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module=module)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["rewards", "rewards.config", "rewards.testing"])
def test_no_trainer_is_loaded(module):
    loaded = imported(module)["loaded"]
    assert not [name for name in HEAVY if name in loaded]


def test_the_own_share_of_the_import_is_small():
    # The best of three: 0.2 s, or ten times what its libraries take on a machine that is slow or busy.
    best = min((imported("rewards") for _ in range(3)), key=lambda run: run["own"])
    assert best["own"] < max(0.2, 10 * best["base"])
