"""From a config's source entry to the files or the hub data set that it means.

Checks the entry and finds what it names; opens no file's rows and knows no layout.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.data import files
from rlkit.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import datasets

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """One entry of `sources`: what to load, in which layout, and how much of it."""

    format: str
    path: str
    subset: str | None = None  # the hub's name of a variant, as in `subset: v2.1`
    split: str | None = None
    revision: str | None = None
    limit: int | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # further files, by the keys that the format declares


@dataclass(frozen=True)
class Found:
    """What an entry means: local files, or a `datasets.Dataset`; `identity` changes with the content."""

    name: str
    identity: list[Any]
    paths: tuple[Path, ...] = ()
    dataset: datasets.Dataset | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


def parse_source(
    spec: Mapping[str, Any], where: str, formats: Collection[str], file_keys: Collection[str] = ()
) -> Source:
    """The checked entry; `file_keys` are the keys of the format's further files. Raises `ConfigError` with the config path.

    >>> parse_source({"format": "drop", "path": "ucinlp/drop", "split": "train"}, "sources.easy", ["drop"]).split
    'train'
    >>> parse_source({"format": "dorp", "path": "x.json"}, "sources.easy", ["drop", "records"])
    Traceback (most recent call last):
    rlkit.errors.ConfigError: sources.easy.format: 'dorp' is unknown; there are drop, records. Did you mean 'drop'?
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{where}: {spec!r:.60} is no source; write {{format: ..., path: ...}}.")
    format = spec.get("format")  # first of all: it decides which other keys there are
    if format is None:
        raise ConfigError(f"{where}.format: missing; a source needs a format and a path.")
    if not isinstance(format, str):
        raise ConfigError(f"{where}.format: {format!r} is no text; put it in quotes.")
    if format not in formats:
        raise ConfigError(
            f"{where}.format: {format!r} is unknown; there are {', '.join(formats)}.{nearest(format, formats)}"
        )
    keys = [item.name for item in fields(Source) if item.name != "files"] + list(file_keys)
    for key in spec:
        if key not in keys:
            raise ConfigError(f"{where}.{key}: no such key; there are {', '.join(keys)}.{nearest(str(key), keys)}")
    if spec.get("path") is None:
        raise ConfigError(f"{where}.path: missing; a source needs a format and a path.")
    for key in ("path", "subset", "split", "revision", *file_keys):
        if not isinstance(spec.get(key), str | None):
            raise ConfigError(f"{where}.{key}: {spec[key]!r} is no text; put it in quotes.")
    limit = spec.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"{where}.limit: {limit!r} must be a whole number of at least 1; leave it out for all rows.")
    if not isinstance(spec.get("where"), Mapping | None):
        raise ConfigError(
            f"{where}.where: {spec['where']!r:.60} must map measures to ranges: {{context_words: [null, 300]}}."
        )
    given: dict[str, Any] = {key: value for key, value in spec.items() if value is not None}
    further = {key: given.pop(key) for key in file_keys if key in given}
    return Source(**{**given, "where": dict(given.get("where", {})), "files": further})


def find(source: Source, where: str, base_dir: Path) -> Found:
    """The files or the data set that the entry names; raises `DataError` that says what was tried."""
    found = _main(source, where, base_dir)
    further = {key: base_dir / Path(path).expanduser() for key, path in source.files.items()}
    for key, full in further.items():
        if not full.is_file():
            raise DataError(f"{where}.{key}: {_missing(full)}")
    contents = [(key, files.digest(full)) for key, full in further.items()]
    return replace(found, identity=[*found.identity, *contents], files=further)


def _main(source: Source, where: str, base_dir: Path) -> Found:
    full = base_dir / Path(source.path).expanduser()
    if full.is_dir():
        return _saved(source, where, full)
    if full.exists():
        return _local(source, where, (full,))
    if any(mark in source.path for mark in "*?["):
        matches = tuple(Path(match) for match in sorted(glob.glob(str(full), recursive=True)))
        paths = tuple(match for match in matches if match.is_file())
        if not paths:
            raise DataError(f"{where}.path: no file matches {full}; write the pattern relative to {base_dir}.")
        return _local(source, where, paths)
    if _HUB_ID.fullmatch(source.path) and not source.path.endswith(files.SUFFIXES):
        return _hub(source, where, full)
    raise DataError(f"{where}.path: {_missing(full)} A hub data set is written owner/name.")


def _missing(full: Path) -> str:
    """Says that a file is not there, and which one is."""
    folder = full.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    wanted = full.relative_to(folder).parts[0]
    link = folder / wanted
    if link.is_symlink():
        return f"there is no file {full}: {link} is a link to {link.readlink()}, which is not there; set the link anew."
    close = nearest(wanted, [entry.name for entry in folder.iterdir()])
    absent = f", and no {wanted!r} in {folder}" if folder != full.parent else ""
    return f"there is no file {full}{absent}.{close}"


def _local(source: Source, where: str, paths: tuple[Path, ...]) -> Found:
    for key in ("subset", "split", "revision"):
        if getattr(source, key) is not None:
            raise ConfigError(f"{where}.{key}: applies to hub data sets, but {paths[0]} is a local file; take it out.")
    # The name counts as well: rows without an id are named after their file.
    identity = [(path.name, files.digest(path)) for path in paths]
    return Found(source.path, identity, paths=paths)


def _saved(source: Source, where: str, folder: Path) -> Found:
    import datasets

    if not ((folder / "state.json").exists() or (folder / "dataset_dict.json").exists()):
        inside = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
        raise DataError(
            f"{where}.path: {folder} is a folder, but none that `save_to_disk` wrote; it holds {inside}. "
            f"Name a file in it or a pattern such as {source.path.rstrip('/')}/*.jsonl."
        )
    loaded = datasets.load_from_disk(str(folder))
    if isinstance(loaded, datasets.DatasetDict):
        if source.split not in loaded:
            raise ConfigError(
                f"{where}.split: {source.split!r} is not in {folder}; there are {', '.join(loaded)}."
                f"{nearest(source.split or '', loaded)}"
            )
        loaded = loaded[source.split]
    elif source.split is not None:
        raise ConfigError(f"{where}.split: {folder} holds one split; take the key out.")
    content = [
        (str(path.relative_to(folder)), files.digest(path)) for path in sorted(folder.rglob("*")) if path.is_file()
    ]
    return Found(source.path, [*content, source.split], dataset=loaded)


def _hub(source: Source, where: str, full: Path) -> Found:
    import datasets

    if source.split is None:
        raise ConfigError(
            f"{where}.split: missing; there is no file {full}, and a hub data set needs one: `split: train`."
        )
    try:
        loaded = datasets.load_dataset(source.path, source.subset, split=source.split, revision=source.revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where}.path: {source.path!r} cannot be loaded from the hub ({type(error).__name__}: {error}). "
            f"If a file is meant: {_missing(full)}"
        ) from error
    name = f"{source.path} ({', '.join(filter(None, (source.subset, source.split)))})"
    return Found(name, [source.path, source.subset, source.split, loaded._fingerprint], dataset=loaded)
