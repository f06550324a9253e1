"""The files that a job's settings name: digests of their content, and which of them are not there.

Knows settings as plain values; knows neither what they mean nor how a file is read.
"""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import curricula
import rewards
import rlkit
from rlkit.data import files

OUR_CODE = tuple(Path(str(package.__file__)).parent for package in (rewards, curricula, rlkit))


def named_files(settings: Any, own: Path) -> dict[str, str]:
    """Digests by path: of each file that a value names, of those that its wildcards find or its folder holds (`path:`), and
    of the code of rewards that are not the toolkit's (`use: module:attribute`). What lies in `own` is told by the jobs that
    make it."""
    found = (path for key, value in _texts(settings) for path in _files(key, value))
    named = sorted({path for path in found if own not in path.parents and path.is_file()})
    return {str(path): digest(path) for path in named}


def digest(path: Path) -> str:
    """Of the content as it is now; "" where there is no such file. A file that was not touched is read once."""
    return _digest(path, path.stat().st_mtime_ns) if path.is_file() else ""


def missing_files(settings: Any, own: Path) -> list[str]:
    """What `path:` names as a file of rows and is not there, nor will be made in `own`; a hub's name may hold a dot, too."""
    named = [value for key, value in _texts(settings) if key == "path" and value.endswith(files.SUFFIXES)]
    return [value for value in named if own not in Path(value).parents and not glob.glob(value, recursive=True)]


def _files(key: str, value: str) -> Iterator[Path]:
    if os.path.isfile(value):
        yield Path(value)
    elif key == "path" and os.path.isdir(value):
        yield from Path(value).rglob("*")
    elif key == "path" and glob.has_magic(value):
        yield from map(Path, glob.glob(value, recursive=True))
    elif key == "use" and ":" in value:
        spec = find_spec(value.partition(":")[0])
        origin = None if spec is None or not spec.has_location else Path(str(spec.origin))
        if origin is not None and not any(folder in origin.parents for folder in OUR_CODE):
            yield origin


def _texts(settings: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text with the key that it stands under."""
    if isinstance(settings, str):
        yield key, settings
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _texts(value, str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _texts(value, key)


@functools.cache
def _digest(path: Path, changed_ns: int) -> str:
    return files.digest(path)
