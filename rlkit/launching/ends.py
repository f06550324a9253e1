"""How the processes of a launched run tell the command that launched them with which code they ended.

deepspeed hands the code of a process on; torchrun and accelerate turn every one into 1. Costs nothing to import.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MARK = "RLKIT_LAUNCH"  # names a folder that is this launch's alone; every process of it has it in its environment


def tell_end(code: int) -> None:
    """Leave this process's exit code for `rlkit launch`; without one, or without a rank, do nothing."""
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
