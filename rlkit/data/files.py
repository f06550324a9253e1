"""Streams rows out of local files: JSON arrays, JSON lines, parquet, saved data sets; `.gz` too.

One row at a time is held. Every failure names the file and, in JSON, the line. Knows no data set's layout.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import ijson

from rlkit.data.layout import Head, Row
from rlkit.errors import DataError

if TYPE_CHECKING:
    import datasets

SUFFIXES = (".json", ".jsonl", ".parquet", ".gz")
_BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 1 << 18
_BATCH_ROWS = 500
_BATCH_BYTES = 8_000_000  # in Arrow; as Python objects several times as much


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield `(where, row)` for each row of a JSON array, JSON lines or parquet file.

    `where` is `file:line` for JSON lines, else `file: row N`, from 1. Raises `DataError` for an empty or
    broken file.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _array_rows(path) if _first_byte(path) == b"[" else _line_rows(path)


def json_pairs(path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the (key, value) pairs of the object at `prefix` ("" = the whole file), one value at a time."""
    with _open(path) as stream:
        yield from ijson.kvitems(stream, prefix, use_float=True, buf_size=_CHUNK_BYTES)


def head(path: Path) -> Head | None:
    """How a file that starts as a JSON object begins; None for every other file, broken ones among them."""
    if path.suffix == ".parquet" or _first_byte(path) != b"{":
        return None
    with _open(path) as stream:
        events = ijson.basic_parse(stream, multiple_values=True)
        with contextlib.suppress(ijson.JSONError, StopIteration):
            next(events)
            event, key = next(events)
            if event == "map_key":
                nested = next(events)[0] == "start_map"
                event, inner = next(events) if nested else ("", None)
                return Head(key, nested, inner if event == "map_key" else None)
    return None


def dataset_rows(dataset: datasets.Dataset, name: str) -> Iterator[tuple[str, Row]]:
    """Yield `(where, row)` of a `datasets.Dataset` in the order of its rows."""
    number = 0
    bytes_per_row = dataset.data.nbytes // max(1, dataset.data.num_rows)
    rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, bytes_per_row)))
    for table in dataset.with_format("arrow").iter(rows):
        for row in table.to_pylist():
            number += 1
            yield f"{name}: row {number}", row


def digest(path: Path) -> str:
    """A hash of the file's content: two files with the same digest hold the same bytes."""
    content = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            content.update(chunk)
    return content.hexdigest()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unzipped, without byte order mark; a reader's error on a broken file says where."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            if stream.read(len(_BOM)) != _BOM:
                stream.seek(0)
            yield stream
    except ijson.JSONError as error:
        raise DataError(f"{path}:{_error_line(path)}: broken JSON: {_reason(error)}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: this is no whole gzip file: {error}") from error


def _first_byte(path: Path) -> bytes:
    with _open(path) as stream:
        while byte := stream.read(1):
            if not byte.isspace():
                return byte
    raise DataError(f"{path}: the file is empty, so there is nothing to train on; give a file with rows.")


def _line_rows(path: Path) -> Iterator[tuple[str, Row]]:
    with _open(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.isspace():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{where}: broken JSON at column {error.colno}: {error.msg}; JSON lines hold one whole object a line."
                ) from error
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: not UTF-8 text ({error.reason}); save the file as UTF-8.") from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: this JSON cannot be read: {error}.") from error
            yield where, _object(row, where)


def _array_rows(path: Path) -> Iterator[tuple[str, Row]]:
    with _open(path) as stream:
        for number, row in enumerate(ijson.items(stream, "item", use_float=True, buf_size=_CHUNK_BYTES), 1):
            where = f"{path}: row {number}"
            yield where, _object(row, where)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: this is no whole parquet file: {error}") from error


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where}: the row is {row!r:.60} ({type(row).__name__}), but must be an object with columns.")
    return row


def _reason(error: Exception) -> str:
    if "premature EOF" in str(error):
        return "the file ends in the middle of a value, as a download that was cut off does."
    # The parser adds an excerpt on lines of its own, and quotes the whole where the excerpt is no UTF-8.
    first = str(error).removeprefix("b'").split("\n")[0].split("\\n")[0]
    return first.split(": ", 1)[-1].rstrip(".") + "."


def _error_line(path: Path) -> int:
    """The line at which the JSON parser gives up, found by parsing again in pieces of at most one line."""
    events = ijson.sendable_list()
    parser = ijson.basic_parse_coro(events, use_float=True)
    line = 1
    with _open(path) as stream:
        while piece := stream.readline(4096):
            try:
                parser.send(piece)
            except ijson.JSONError:
                break
            del events[:]
            line += piece.endswith(b"\n")
    return line
