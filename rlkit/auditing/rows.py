"""The rows of an audit: those of a file, or the first ones of a config's sources.

Knows files and layouts; knows no reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rlkit.auditing.run import Row
from rlkit.data.files import SUFFIXES, read_rows
from rlkit.data.jsonl import records
from rlkit.data.layout import Report
from rlkit.errors import DataError


def from_file(path: Path, layout: str, limit: int | None) -> Iterator[Row]:
    """The rows of a file; raises `DataError` where there are none. The record layout needs no `datasets`, which is slow to load."""
    if layout != "records" or path.suffix not in SUFFIXES:
        yield from from_sources({path.stem: {"format": layout, "path": str(path)}}, limit)
        return
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    report, count = Report(), 0
    for where, row in islice(read_rows(path), limit):
        for record in records(row, report, where):
            count += 1
            yield path.stem, record
    if not count:
        raise DataError(f"{path}: holds no row to audit on.")


def from_sources(sources: Mapping[str, Any], limit: int | None) -> Iterator[Row]:
    """The first rows of each source, one source after the other."""
    from rlkit.data.load import load_source

    for name, spec in sources.items():
        for record in islice(load_source(spec, f"sources.{name}").records(), limit):
            yield name, record


def of_task(task: str, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as they are; raises `DataError` at one of another task."""
    for name, record in rows:
        if record["task"] != task:
            raise DataError(
                f"{name}: row {record['id']} is of task {record['task']}, which the preset {task} cannot read; audit "
                f"{record['task']} on it."
            )
        yield name, record
