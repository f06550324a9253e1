"""`rlkit ablate` in a process that has imported everything, and so are its jobs: each starts at once in place of in seconds.

A request names the command's `arguments` and its `log`; see `warm`. Jobs are processes as ever, in groups of their own; only that they are forked.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import warm


class Forked:
    """A job's process as `rlkit.ablation.running` sees it: what it uses of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], *, env: dict[str, str], stdout: Any, **_: Any) -> None:
        assert tuple(command[:2]) == (sys.executable, "-m")
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.environ.clear()
            os.environ.update(env)
            warm.into(stdout.fileno())
            warm.end(partial(main_of(command[2]), list(command[3:])))

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(request: dict[str, Any]) -> None:
    warm.into(warm.appended(request["log"]))
    warm.end(partial(main_of("rlkit"), ["ablate", *request["arguments"]]))


def main_of(module: str) -> Callable[[list[str]], int]:
    return importlib.import_module("rlkit.cli" if module == "rlkit" else module).main


if __name__ == "__main__":
    # Started with the words `rlkit ablate` behind its name, which make it a launcher of its jobs.
    import peft  # noqa: F401
    import torch
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: F401

    from rlkit.ablation import running
    from rlkit.training import grpo, sft  # noqa: F401

    torch.set_num_threads(1)
    running.subprocess = types.SimpleNamespace(Popen=Forked, DEVNULL=None)  # type: ignore[assignment]  # its own alone
    warm.serve(start)
