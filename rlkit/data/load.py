"""`load_source`: from one entry of a config's `sources` to memory-mapped rows and a report.

Finds the file or hub data set, checks that its layout is the one the config names, converts it once and keeps
the result. The formats themselves are in a module each; this one knows no field of any of them.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit import prompts
from rlkit.data import (
    cache,
    derived,
    dialogues,
    drop,
    fidelity,
    files,
    hotpotqa,
    jsonl,
    locomo,
    longbench,
    ms_marco,
    musique,
    synthetic,
    time_dialog,
    two_wiki,
)
from rlkit.data.find import Found, Source, find, parse_source
from rlkit.data.layout import MAX_EXAMPLES, Layout, Report, Row
from rlkit.data.record import Record, missing_hint, to_record
from rlkit.errors import ConfigError, DataError
from rlkit.memory import prompt as memory_prompt

if TYPE_CHECKING:
    import datasets

_MODULES = (hotpotqa, two_wiki, musique, drop, ms_marco, longbench, time_dialog, locomo, jsonl)
LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in _MODULES}
_MADE_UP: dict[str, Callable[[Mapping[str, Any], str], Iterator[Record]]] = {
    "synthetic": synthetic.from_source,
    "synthetic_fidelity": fidelity.from_source,
    "dialogues": dialogues.from_source,
}
_log = logging.getLogger(__name__)
_LOG_EVERY_ROWS = 100_000


@dataclass(frozen=True)
class Loaded:
    """A source's rows, in the order of the file, and what became of every question in it.

    `rows` is memory-mapped and has the columns of `record.features()`; `record.to_record(row)` gives a row's
    record.
    """

    rows: datasets.Dataset
    report: Report

    def records(self) -> Iterator[Record]:
        """The records one at a time, read in batches: several times faster than row by row."""
        return _records_of(self.rows)


def load_source(
    spec: Mapping[str, Any],
    where: str = "source",
    base_dir: Path | None = None,
    *,
    cache_dir: Path | None = None,
) -> Loaded:
    """The rows of one source, `{format, path, subset, split, revision, limit, where}`, converted once.

    A `synthetic` or `dialogues` source has the options of that module's `generate` in place of a path, a `derived` one
    those of `derived.Options`. Else
    `path` is a local file, a pattern (`data/*.jsonl`), a folder saved by `datasets`, or a hub id; relative paths
    start at `base_dir`, by default the current directory. The entry's `where` maps measures of `curricula.difficulty`
    to `[lowest, highest]`; `limit` then keeps the first rows. A layout that has several files names the others
    under keys of its own, such as `contexts` of `time_dialog`. Files are streamed: no more than a batch of
    rows is held as Python objects. Conversions are kept in `cache_dir`, by default beside those of
    `datasets`, under the content of the files.

    The argument `where` is the entry's config path, which errors begin with. Raises `ConfigError` for a wrong
    entry and `DataError` for what is wrong with the data: no such file, broken JSON, the columns of another
    format, no row left.
    """
    if isinstance(spec, Mapping) and str(spec.get("format")) in _MADE_UP:
        source, found, records = _generated(spec, where, _MADE_UP[spec["format"]])
    elif isinstance(spec, Mapping) and spec.get("format") == derived.FORMAT:
        source, found, records = _derived(spec, where, base_dir, cache_dir)
    else:
        layout = LAYOUTS.get(str(spec.get("format"))) if isinstance(spec, Mapping) else None
        source = parse_source(spec, where, [*LAYOUTS, *_MADE_UP, derived.FORMAT], layout.files if layout else ())
        found = find(source, where, Path.cwd() if base_dir is None else base_dir)
        records = partial(_records, LAYOUTS[source.format], found)
    folder = cache.default_folder() if cache_dir is None else cache_dir
    early_limit = None if source.where else source.limit  # which rows are first is only known after `where`
    name = cache.key(source.format, found.identity, early_limit)
    rows, report = _converted(folder / name, lambda report: _counted(records(report), report, early_limit, found.name))
    used = rows
    if source.where and len(rows):
        used = _narrowed(rows, report, _selected(folder, name, rows, source.where, where), source)
    if not len(used):
        raise DataError(_nothing_left(found, report, rows, source, where))
    return Loaded(used, report)


def _generated(
    spec: Mapping[str, Any], where: str, rows_of: Callable[[Mapping[str, Any], str], Iterator[Record]]
) -> tuple[Source, Found, Callable[[Report], Iterator[Record]]]:
    """A made-up world as a source: its options instead of a path, `limit` and `where` as for files."""
    source, options = _without_path(spec, where)
    return source, Found(f"the made-up world {source.format!r}", [options]), lambda report: rows_of(options, where)


def _derived(
    spec: Mapping[str, Any], where: str, base_dir: Path | None, cache_dir: Path | None
) -> tuple[Source, Found, Callable[[Report], Iterator[Record]]]:
    """Rows made from other sources, whose content, with the code that writes prompts, is part of their identity."""
    source, given = _without_path(spec, where)
    options = derived.Options.from_config(given, where)
    # first, because it is a file, which may be missing, and a world of many rows takes a while to make
    fill = None if options.fill is None else load_source(options.fill, f"{where}.with", base_dir, cache_dir=cache_dir)
    of = load_source(options.of, f"{where}.of", base_dir, cache_dir=cache_dir)
    inner = [loaded for loaded in (of, fill) if loaded is not None]
    contents = [Path(file["filename"]).stem for loaded in inner for file in loaded.rows.cache_files]

    def records(report: Report) -> Iterator[Record]:
        for reason, count in of.report.dropped.items():
            report.noted[f"left out of the source that these come from: {reason}"] = count
        return derived.records(options, of.rows, None if fill is None else fill.rows, report, where)

    code = [files.digest(Path(module.__file__)) for module in (prompts, memory_prompt) if module.__file__]
    return source, Found("the derived source", [given, contents, code]), records


def _without_path(spec: Mapping[str, Any], where: str) -> tuple[Source, dict[str, Any]]:
    """The checked entry of a source that makes its rows, and its own options."""
    options = {key: value for key, value in spec.items() if key not in ("limit", "where")}
    shared = {key: spec[key] for key in ("limit", "where") if key in spec}
    name = spec["format"]
    return parse_source({"format": name, "path": name, **shared}, where, [name]), options


def _converted(target: Path, records: Callable[[Report], Iterable[Record]]) -> tuple[datasets.Dataset, Report]:
    arrow, stored = target.with_suffix(".arrow"), target.with_suffix(".json")
    rows = cache.open_rows(arrow)
    if rows is not None and stored.exists():
        report = Report.from_dict(json.loads(stored.read_text(encoding="utf-8")))
        if report.kept == len(rows):
            return rows, report
    report = Report()

    def fill(draft: Path) -> None:
        cache.write_rows(draft, records(report), report)
        # The report first: whoever sees the rows finds it there.
        cache.write(stored, lambda path: path.write_text(json.dumps(report.to_dict()), encoding="utf-8"))

    cache.write(arrow, fill)
    rows = cache.open_rows(arrow)
    if rows is None:
        raise DataError(f"{arrow}: the rows written just now cannot be read back; is the disk full?")
    return rows, report


def _counted(records: Iterable[Record], report: Report, limit: int | None, name: str) -> Iterator[Record]:
    for record in records:
        report.keep()
        if report.kept % _LOG_EVERY_ROWS == 0:
            _log.info("%s: %d rows read, %d kept", name, report.read, report.kept)
        yield record
        if report.kept == limit:
            report.limited = True
            return


def _records(layout: Layout, found: Found, report: Report) -> Iterator[Record]:
    records = layout.with_files(found.files) if layout.with_files else layout.records
    for where, row in _rows(layout, found):
        if not layout.fits(row):
            raise DataError(f"{where}: {_wrong_columns(layout, row)}")
        try:
            yield from records(row, report, where)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where}: this row has the columns of format {layout.name!r} but not its shape "
                f"({type(error).__name__}: {error}); compare it with the published layout."
            ) from error


def _rows(layout: Layout, found: Found) -> Iterator[tuple[str, Row]]:
    if found.dataset is not None:
        yield from files.dataset_rows(found.dataset, found.name)
        return
    for path in found.paths:
        head = files.head(path)
        owner = next((other for other in LAYOUTS.values() if head and other.claims and other.claims(head)), None)
        if owner is None:
            yield from files.read_rows(path)
        elif owner is not layout or owner.rows is None:
            raise DataError(
                f"{path}: this file is in the original layout of format {owner.name!r}, not of {layout.name!r}; "
                f"write `format: {owner.name}`, or give the right file."
            )
        else:
            yield from owner.rows(path)


def _wrong_columns(layout: Layout, row: Row) -> str:
    others = [name for name, other in LAYOUTS.items() if other.fits(row)]
    if others:
        hint = f" These columns look like format {others[0]!r}; write `format: {others[0]}`."
    else:
        form = min(layout.columns, key=lambda columns: sum(name not in row for name in columns))
        missing = [name for name in form if name not in row]
        hint = f" Missing: {', '.join(missing)}." + "".join(missing_hint(name, row) for name in missing)
    needed = " or ".join(", ".join(columns) for columns in layout.columns)
    there = ", ".join(islice(map(str, row), 20)) or "none"
    return f"the columns here are {there}, but format {layout.name!r} needs {needed}.{hint}"


def _selected(folder: Path, name: str, rows: datasets.Dataset, where: Mapping[str, Any], path: str) -> array[int]:
    """The numbers of the rows that meet the conditions; kept on disk, as they cost a pass over all rows."""
    from curricula.difficulty import select

    target = folder / f"{cache.key(name, where)}.rows"
    if not target.exists():
        conditions: dict[Any, Any] = dict(where)
        try:
            chosen = select(_records_of(rows), conditions)
        except ValueError as error:
            raise ConfigError(f"{path}.{error}") from error
        cache.write(target, lambda draft: draft.write_bytes(chosen.tobytes()))
    numbers = array("Q")
    numbers.frombytes(target.read_bytes())
    return numbers


def _records_of(rows: datasets.Dataset) -> Iterator[Record]:
    return (to_record(row) for _, row in files.dataset_rows(rows, "row"))


def _narrowed(rows: datasets.Dataset, report: Report, kept: array[int], source: Source) -> datasets.Dataset:
    """The chosen rows up to the limit; the report tells of the others."""

    def ids(numbers: Iterable[int]) -> list[str]:
        return [rows[number]["id"] for number in islice(numbers, MAX_EXAMPLES)]

    conditions = ", ".join(f"{measure} {json.dumps(bounds)}" for measure, bounds in source.where.items())
    report.take_out(f"not where {conditions}", len(rows) - len(kept), ids(_others(kept, len(rows))))
    used = kept if source.limit is None else kept[: source.limit]
    report.take_out(f"over the limit of {source.limit}", len(kept) - len(used), ids(kept[len(used) :]))
    return rows.select(used)


def _others(numbers: Iterable[int], total: int) -> Iterator[int]:
    """The numbers below `total` that are not in the ascending `numbers`."""
    following = 0
    for number in chain(numbers, [total]):
        yield from range(following, number)
        following = number + 1


def _nothing_left(found: Found, report: Report, rows: datasets.Dataset, source: Source, path: str) -> str:
    """Says where all rows went, and what values the conditions of `where` would have met."""
    from curricula.difficulty import MEASURES

    lines = [f"{path}: no row of {found.name} is left to train on; {report}"]
    for name in source.where if len(rows) else ():
        values = [value for record in _records_of(rows) if (value := MEASURES[name](record)) is not None]
        lines.append(f"  {name} lies between {min(values):,} and {max(values):,}; widen `{path}.where.{name}`.")
    return "\n".join(lines)
