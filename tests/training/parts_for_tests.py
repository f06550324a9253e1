"""Reward parts that misbehave when their completion says so; worker processes import them from here."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from rewards import Sample


def obeys(sample: Sample) -> float | None:
    """Does what the completion says."""
    word, _, argument = sample.completion.partition(" ")
    if word == "sleep":
        time.sleep(float(argument))
    elif word == "spin":
        while True:
            pass
    elif word == "fail":
        raise KeyError(argument)
    elif word == "none":
        return None
    elif word == "exit" or (word == "exit_once" and not Path(argument).exists()):
        if argument:
            Path(argument).touch()
        os._exit(1)
    return 1.0


def swallows(sample: Sample) -> float:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


def process_id(sample: Sample) -> float:
    return float(os.getpid())


def has_torch(sample: Sample) -> float:
    return float("torch" in sys.modules)


def of_the_batch(completions: list[Any], **columns: Any) -> list[float]:
    return [1 / len(completions)] * len(completions)
