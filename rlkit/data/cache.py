"""Converted sources on disk: Arrow files that are memory-mapped, so that rows cost disk and not memory.

A file is written under a name of its own and then renamed: two processes that build the same one both end
with a whole one. Keys hold the content of what was read and of the code that read it, so nothing here can be
out of date. Knows no layout; old files are removed by whoever owns the folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.data import files
from rlkit.data.layout import Report
from rlkit.data.record import Record, features, to_row
from rlkit.errors import DataError

if TYPE_CHECKING:
    import datasets
    import pyarrow

BATCH_ROWS = 1000
BATCH_CHARS = 16_000_000


def default_folder() -> Path:
    """The folder of `datasets` for converted data (`HF_DATASETS_CACHE`), and `rlkit` in it."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "rlkit"


def key(*parts: Any) -> str:
    """A name for what is made from these parts by this version of the loaders' code."""
    return hashlib.blake2b(json.dumps([_code(), *parts], default=dict).encode(), digest_size=16).hexdigest()


@functools.cache
def _code() -> list[str]:
    """What the code that makes and selects records is; `rewards` writes the synthetic world's
    demonstrations."""
    import curricula
    import rewards

    folders = [Path(__file__).parent, *(Path(package.__path__[0]) for package in (curricula, rewards))]
    return [files.digest(path) for folder in folders for path in sorted(folder.glob("*.py"))]


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Create `path` by letting `fill` write another file that is renamed to it when it is whole."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write here ({error.strerror}), but converted data is kept there; "
            "set HF_DATASETS_CACHE to a folder that can be written."
        ) from error
    try:
        fill(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_rows(path: Path, records: Iterable[Record], report: Report) -> None:
    """Stream records into an Arrow file in the one schema of all sources; holds one batch at a time."""
    import pyarrow

    schema = features().arrow_schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for rows in _batches(records):
            writer.write_batch(_arrow(rows, schema, report))


def open_rows(path: Path) -> datasets.Dataset | None:
    """The memory-mapped rows of a converted source; None where there is none or it cannot be read."""
    import datasets
    import pyarrow

    try:
        return datasets.Dataset.from_file(str(path))
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _batches(records: Iterable[Record]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    chars = 0
    for record in records:
        rows.append(to_row(record))
        chars += sum(len(passage["text"]) for passage in record["context"])
        for session in record.get("sessions") or ():
            chars += sum(len(said["text"]) for said in session["utterances"])
        if len(rows) == BATCH_ROWS or chars > BATCH_CHARS:
            yield rows
            rows, chars = [], 0
    if rows:
        yield rows


def _arrow(rows: list[dict[str, Any]], schema: pyarrow.Schema, report: Report) -> pyarrow.RecordBatch:
    import pyarrow

    try:
        return pyarrow.RecordBatch.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:  # half of a surrogate pair, as scraped text has; Arrow holds valid UTF-8 alone
        mended = [json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")) for row in rows]
        for row, whole in zip(rows, mended, strict=True):
            if row != whole:
                report.note("half a surrogate pair, replaced by '?'", whole["id"])
        return pyarrow.RecordBatch.from_pylist(mended, schema=schema)
