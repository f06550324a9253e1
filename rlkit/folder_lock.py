"""One process a folder: what writes a folder holds it until the end. Knows nothing of what is written there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rlkit.errors import RunError


@contextlib.contextmanager
def held(folder: Path, option: str) -> Iterator[None]:
    """The folder, made if need be, is this process's until the end; the system lets go however the process ends.

    `option` is what names the folder, for the message. Raises `RunError` where another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be made or written into ({error.strerror}); choose another {option}."
        ) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunError(
                f"{folder}: process {file.read().strip() or '?'} is working in this folder; wait for it, stop it, or choose "
                f"another {option}."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
