"""Which checkpoints of a run may be resumed: those written to their end, by this run, and unchanged since.

A checkpoint gets its mark when every process has written its part. The mark lists every file, so that what is cut,
lost or changed afterwards is found before anything is loaded. Knows files; refuses to know what a trainer keeps in them.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import RunError
from rlkit.whole_files import write_json

MARK = "rlkit.json"
DAMAGED = "damaged-"
BLOCK_BYTES, BLOCKS = 64 * 1024, 64  # what is read of a file to tell it from another: all of it up to 4 MB
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What safetensors and torch say where they do not pass on the system's own error.
_FULL_WORDS = (
    "No space left on device",
    "os error 28",
    "os error 122",
    "os error 27",
    "PytorchStreamWriter failed",
    ". unexpected pos ",
)
_log = logging.getLogger(__name__)


def step_of(checkpoint: Path) -> int | None:
    """The step in a checkpoint's name.

    >>> step_of(Path("run/checkpoint-40"))
    40
    """
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def marked(folder: Path) -> list[Path]:
    """The checkpoints in a run folder that were written to their end, the newest first."""
    found = [p for p in folder.glob("checkpoint-*") if step_of(p) is not None and (p / MARK).is_file()]
    return sorted(found, key=lambda p: step_of(p) or 0, reverse=True)


def mark(checkpoint: Path, facts: Mapping[str, Any]) -> None:
    """Note that a checkpoint was written to its end, by which run, and what is in it; only such a one is resumed.

    At most 4 MB of a file are read, so that the mark costs no time beside the writing.
    """
    write_json(checkpoint / MARK, {**facts, "files": {name: _print(checkpoint / name) for name in _files(checkpoint)}})


def newest_good(folder: Path, facts: Mapping[str, Any]) -> Path | None:
    """The newest checkpoint that is whole and belongs to a run of these facts, or `None` where no checkpoint was marked.

    Damaged ones that are newer are told of and set aside as `damaged-checkpoint-N`. Raises `RunError` for a
    checkpoint of another run, and where every checkpoint is damaged: to begin anew is not decided here.
    """
    found = marked(folder)
    damaged: dict[Path, str] = {}
    for checkpoint in found:
        reason = _damage(checkpoint, facts)
        if reason is None:
            for bad, why in damaged.items():
                aside = _set_aside(bad)
                _log.warning(
                    "%s: %s, so it is not used and was renamed to %s; going on from %s.",
                    bad,
                    why,
                    aside.name,
                    checkpoint.name,
                )
            return checkpoint
        damaged[checkpoint] = reason
    if damaged:
        lines = "\n  ".join(f"{bad}: {why}" for bad, why in damaged.items())
        raise RunError(
            f"{folder}: no checkpoint can be resumed, so the run does not go on:\n  {lines}\n"
            "Put back a copy of one, remove these folders to train again from the first step, or choose another train.output_dir."
        )
    return None


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed process left of a checkpoint, and of files and folders that were to appear whole."""
    for checkpoint in folder.glob("checkpoint-*"):
        if step_of(checkpoint) is not None and not (checkpoint / MARK).is_file():
            _log.info("%s: was not written to its end; removed.", checkpoint)
            shutil.rmtree(checkpoint)
    for draft in folder.glob(".*"):
        if draft.name == ".lock":
            continue
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def keep_newest(folder: Path, limit: int | None, best: str | None = None) -> None:
    """Remove all but the `limit` newest checkpoints, and the best one; `None` keeps all.

    The mark goes first: what a kill leaves of a removal is never taken for a checkpoint.
    """
    if limit is None or limit < 1:
        return
    for checkpoint in marked(folder)[limit:]:
        if best is None or checkpoint.resolve() != Path(best).resolve():
            (checkpoint / MARK).unlink()
            shutil.rmtree(checkpoint)


def full_disk(error: BaseException) -> str | None:
    """What the system or a library said, where an error or its cause is that nothing more could be written.

    >>> full_disk(OSError(errno.ENOSPC, "No space left on device"))
    '[Errno 28] No space left on device'
    >>> full_disk(ValueError("no"))
    """
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return None
        said = str(seen).splitlines()[0] if str(seen) else type(seen).__name__
        if (isinstance(seen, OSError) and seen.errno in _FULL) or any(words in str(seen) for words in _FULL_WORDS):
            return said
        seen = seen.__cause__ or seen.__context__
    return None


def _files(checkpoint: Path) -> Iterator[str]:
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.relative_to(checkpoint) != Path(MARK):
            yield path.relative_to(checkpoint).as_posix()


def _print(path: Path) -> list[int]:
    """Size in bytes, and a checksum over blocks from the first to the last."""
    size, check = path.stat().st_size, 0
    step = max(BLOCK_BYTES, -(-(size - BLOCK_BYTES) // (BLOCKS - 1)))
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(min(start, max(0, size - BLOCK_BYTES)) if step > BLOCK_BYTES else start)
            check = zlib.crc32(file.read(BLOCK_BYTES), check)
    return [size, check]


def _damage(checkpoint: Path, facts: Mapping[str, Any]) -> str | None:
    """Why a marked checkpoint cannot be used, or `None`; raises `RunError` where it is another run's."""
    try:
        noted = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        files = noted.pop("files")
        step = noted.pop("step")
        files = {str(name): list(figures) for name, figures in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return f"its {MARK} cannot be read ({type(error).__name__}: {error})"
    other = [f"{k}: {noted.get(k)!r} -> {v!r}" for k, v in facts.items() if noted.get(k) != v]
    if other:
        raise RunError(
            f"{checkpoint}: is a checkpoint of another run and is not used. What differs:\n  "
            + "\n  ".join(other)
            + "\nMove it away, or choose another train.output_dir."
        )
    if step != step_of(checkpoint):
        return f"it holds step {step}"
    there = set(_files(checkpoint))
    if lost := sorted(files.keys() - there):
        return f"{lost[0]} is missing" + (f" and {len(lost) - 1} more files are" if len(lost) > 1 else "")
    for name, figures in files.items():
        try:
            found = _print(checkpoint / name)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found[0] != figures[0]:
            return f"{name} has {found[0]:,} bytes where {figures[0]:,} were written"
        if found != figures:
            return f"{name} is not what was written"
    return None


def _set_aside(checkpoint: Path) -> Path:
    """Give a damaged checkpoint another name, so that its own is free for the same step."""
    for number in range(1000):
        aside = checkpoint.with_name(DAMAGED + checkpoint.name + (f"-{number}" if number else ""))
        if not aside.exists():
            return checkpoint.rename(aside)
    raise RunError(f"{checkpoint.parent}: holds a thousand damaged copies of {checkpoint.name}; remove them.")
