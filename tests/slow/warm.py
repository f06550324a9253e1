"""What programs share that have imported everything and start each process by forking: in no time in place of in seconds.

They read requests, one JSON object a line: to start a process, answered with its id, or to `wait` for one, answered with
its exit code.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def serve(start: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until the input ends; `start` runs in a process of its own and does not return."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), file=answers)
            continue
        child = os.fork()
        if child == 0:
            start(request)
        print(child, file=answers)


def into(log: int) -> None:
    """Send what this process says to an open file."""
    for descriptor in (1, 2):
        os.dup2(log, descriptor)


def appended(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def end(work: Callable[[], Any]) -> None:
    """Do `work` and end this process with its exit code, without the cleaning up of the process that it was forked from."""
    try:
        code = work() or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code % 256)
