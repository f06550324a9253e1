"""DeepSpeed's own launcher, in a process that has imported everything: a launch takes a second in place of ten.

How it is asked stands in `warm`. The launcher is `deepspeed.launcher.launch`, which supervises the ranks as ever; only
that it forks them.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import socket
import sys
import types
from pathlib import Path
from typing import Any

import warm

CLONE_NEWUTS = 0x04000000


class Forked:
    """A rank as the launcher sees it: what it uses of `subprocess.Popen`."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.clear()
            os.environ.update(env)
            rlkit = command[command.index("rlkit") + 1 :]
            warm.end(lambda: main(rlkit))

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def main(arguments: list[str]) -> int:
    from rlkit import cli

    return cli.main(arguments)


def launch(request: dict[str, Any]) -> None:
    os.setpgid(0, 0)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    if request["max_file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file_bytes"],) * 2)
    if request["host"] and ctypes.CDLL(None).unshare(CLONE_NEWUTS) == 0:  # only root may
        socket.sethostname(request["host"])
    warm.into(warm.appended(request["log"]))
    world = base64.urlsafe_b64encode(json.dumps({"localhost": list(range(request["processes"]))}).encode()).decode()
    flags = [f"--world_info={world}", "--master_addr=127.0.0.1", f"--master_port={request['port']}", "--no_local_rank"]
    sys.argv = ["launch.py", *flags, "--module", "rlkit", *request["arguments"]]
    warm.end(launcher.main)


if __name__ == "__main__":
    import deepspeed  # noqa: F401
    import peft  # noqa: F401
    from deepspeed.launcher import launch as launcher
    from trl import GRPOConfig, GRPOTrainer, SFTTrainer  # noqa: F401

    from rlkit.training import grpo, sft, stopping  # noqa: F401

    launcher.subprocess = types.SimpleNamespace(Popen=Forked)  # its own, and nobody else's
    stopping._LAUNCHERS.add(Path(__file__).name)
    warm.serve(launch)
