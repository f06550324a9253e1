"""How the processes of a group end, and tell the command that launched them with which code.

deepspeed hands the code of a process on; torchrun and accelerate turn every one into 1. Costs nothing to import.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

MARK = "RLKIT_LAUNCH"  # names a folder that is this launch's alone; every process of it has it in its environment
_code: int | None = None  # of this process, once it is known


def skip_teardown() -> None:
    """Have a process of a group end after its exit handlers, once `tell_end` was called, without the interpreter's teardown.

    Threads of torch's store and of gloo outlive the group; one that comes back to Python during the teardown aborts the
    process, and a training that is done ends with code -6. Call it before other modules register exit handlers: the first
    to register runs last.
    """
    atexit.register(_end)


def _end() -> None:
    if _code is not None and "RANK" in os.environ:
        logging.shutdown()  # its own handler was there before
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_code)


def tell_end(code: int) -> None:
    """Note this process's exit code, and leave it for `rlkit launch` where that has started it."""
    global _code
    _code = code
    folder, rank = os.environ.get(MARK), os.environ.get("RANK", "")
    if folder and rank.isdigit():
        with suppress(OSError):  # the launch is over already
            Path(folder, rank).write_text(str(code), encoding="ascii")


def told_end(folder: Path) -> int | None:
    """The code of the first process that ended with another than 0; None where none has told one."""
    codes = {}
    for file in folder.iterdir():
        with suppress(OSError, ValueError):
            codes[int(file.name)] = int(file.read_text(encoding="ascii"))
    return next((codes[rank] for rank in sorted(codes) if codes[rank] != 0), None)
