"""The papers' tables as data, each with its source, so that a measured figure can stand beside the printed one.

Knows what was printed; refuses to know anything that was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError, nearest
from rlkit.evaluation.metrics import METRICS, unit_of
from rlkit.yaml_files import read_yaml_file

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Column:
    """One column of a printed table: which subset in which metric, and its count of questions where it is known."""

    subset: str
    metric: str
    title: str
    digits: int
    n: int | None = None


@dataclass(frozen=True)
class PublishedRow:
    """What one model got with one method, as printed; `None` where nothing is printed."""

    model: str
    method: str | None
    figures: tuple[float | None, ...]

    @property
    def label(self) -> str:
        """How the row is called: the model, and the method if there is one."""
        return f"{self.model}, {self.method}" if self.method else self.model


@dataclass(frozen=True)
class PublishedTable:
    """A printed table, where it was printed, and what a reader must know to compare with it."""

    key: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[PublishedRow, ...]
    note: str = ""


def published_table(key: str, path: str | Path = FILE) -> PublishedTable:
    """A table of `published.yaml`, or of a file of that layout; raises `ConfigError` for an unknown key or a bad table.

    >>> table = published_table("locomo")
    >>> table.rows[0].label, table.rows[0].figures[-1]
    ('Qwen2.5-3B, original, no retrieval', 33.5)
    """
    tables = _read(Path(path))
    if key not in tables:
        raise ConfigError(f"{path}: has no table {key!r}; there are {', '.join(tables)}.{nearest(key, tables)}")
    return tables[key]


def published_tables(path: str | Path = FILE) -> Mapping[str, PublishedTable]:
    """All tables of `published.yaml`, or of a file of that layout, by key."""
    return _read(Path(path))


@lru_cache(maxsize=4)
def _read(path: Path) -> dict[str, PublishedTable]:
    content = read_yaml_file(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no tables; see {FILE.name} of this package for the layout.")
    return {str(key): _table(str(key), value, f"{path}: {key}") for key, value in content.items()}


def _table(key: str, value: Any, where: str) -> PublishedTable:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r:.60}, but must be a mapping with title, source, columns and rows.")
    _known(value, ("title", "source", "note", "metric", "digits", "columns", "rows"), where)
    try:
        columns = tuple(_column(column, value, where) for column in value["columns"])
        rows = tuple(_row(row, where) for row in value["rows"])
        title, source = str(value["title"]), str(value["source"])
    except KeyError as error:
        raise ConfigError(
            f"{where} lacks {error.args[0]!r}, without which its figures mean nothing; add it."
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: a value is of the wrong kind ({error}); see {FILE.name} of this package."
        ) from error
    for row in rows:
        if len(row.figures) != len(columns):
            raise ConfigError(
                f"{where}: the row {row.label} has {len(row.figures)} figures for {len(columns)} columns, so it is unclear "
                "which is which; write null where nothing is printed."
            )
    return PublishedTable(key, title, source, columns, rows, " ".join(str(value.get("note") or "").split()))


def _column(value: Mapping[str, Any], table: Mapping[str, Any], where: str) -> Column:
    _known(value, ("subset", "metric", "title", "digits", "n"), where)
    metric = str(value["metric"] if "metric" in value else table["metric"])
    if metric not in METRICS:
        raise ConfigError(f"{where}: metric {metric!r} is unknown.{nearest(metric, METRICS)}")
    digits = int(value.get("digits", table.get("digits", unit_of(metric).digits)))
    subset = str(value["subset"])
    return Column(subset, metric, str(value.get("title", subset)), digits, value.get("n"))


def _row(value: Mapping[str, Any], where: str) -> PublishedRow:
    _known(value, ("model", "method", "figures"), where)
    figures = tuple(None if figure is None else float(figure) for figure in value["figures"])
    return PublishedRow(str(value["model"]), value.get("method"), figures)


def _known(value: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in value:
        if key not in keys:
            raise ConfigError(
                f"{where}: {key!r} is unknown here; there are {', '.join(keys)}.{nearest(str(key), keys)}"
            )
