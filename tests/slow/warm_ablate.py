"""`rlkit ablate` in a process that has imported everything, and so are its jobs: each starts at once in place of in seconds.

The program reads requests, one JSON object a line: to start the command with `arguments`, answered with its process id, or to
`wait` for one, answered with its exit code. Jobs are processes as ever, in groups of their own; only that they are forked.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any


class Forked:
    """A job's process as `rlkit.ablation.jobs` sees it: what it uses of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], *, env: dict[str, str], stdout: Any, **_: Any) -> None:
        assert tuple(command[:2]) == (sys.executable, "-m")
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.environ.clear()
            os.environ.update(env)
            end(stdout.fileno(), partial(main_of(command[2]), list(command[3:])))

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main_of(module: str) -> Callable[[list[str]], int]:
    return importlib.import_module("rlkit.cli" if module == "rlkit" else module).main


def end(log: int, work: Callable[[], int]) -> None:
    """Do `work` and end this process with its exit code, without the cleaning up of the process that it was forked from."""
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    try:
        code = work()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if (
    __name__ == "__main__"
):  # started with the words `rlkit ablate` behind its name, which make it a launcher of its jobs
    import peft  # noqa: F401
    import torch
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: F401

    from rlkit.ablation import jobs
    from rlkit.training import grpo, sft  # noqa: F401

    torch.set_num_threads(1)
    jobs.subprocess = types.SimpleNamespace(Popen=Forked, DEVNULL=None)  # type: ignore[assignment]  # its own alone
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), file=answers)
            continue
        child = os.fork()
        if child == 0:
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            end(log, partial(main_of("rlkit"), ["ablate", *request["arguments"]]))
        print(child, file=answers)
