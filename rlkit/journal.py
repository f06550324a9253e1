"""An append-only JSONL file of answers that were paid for, so that a killed run asks nothing twice.

Knows keys and values; refuses to know what they mean. Holds the keys in memory and leaves the values on disk.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from rlkit.errors import DataError


class Journal:
    """Values by key, kept in a file of one `{"key": ..., "value": ...}` a line; the last line of a key holds.

    Safe for threads, and for several processes that append to the same file (each sees what stood there when it first
    read). A last line that a kill cut off is dropped; any other unreadable line raises `DataError`. Picklable: only the
    path travels.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] | None = None  # offset and length of each key's line, in bytes
        self._file = -1
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._read()

    def get(self, key: str) -> Any | None:
        """The value of a key, or `None`."""
        with self._lock:
            place = self._read().get(key)
            if place is None:
                return None
            offset, length = place
            return json.loads(os.pread(self._open(), length, offset))["value"]

    def put(self, key: str, value: Any) -> None:
        """Keep a value; it is on the disk's queue when this returns, so killing the process does not lose it."""
        line = (json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        with self._lock:
            places = self._read()
            file = self._open()
            # One write in append mode: lines of several processes do not run into each other.
            written = os.write(file, line)
            if written < len(line):
                raise OSError(f"{self.path}: only {written} of {len(line)} bytes could be written; is the disk full?")
            places[key] = os.lseek(file, 0, os.SEEK_CUR) - len(line), len(line)

    def _open(self) -> int:
        if self._file < 0 or self._process != os.getpid():  # a forked child must not share the place in the file
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._process = os.getpid()
        return self._file

    def _read(self) -> dict[str, tuple[int, int]]:
        if self._places is not None:
            return self._places
        self.path.parent.mkdir(parents=True, exist_ok=True)
        places: dict[str, tuple[int, int]] = {}
        if self.path.exists():
            with self.path.open("rb+") as file:
                position = 0
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n") and not _is_json(line):
                        file.truncate(position)  # what a kill left of a last line; the next line must not continue it
                        break
                    if not line.endswith(b"\n"):
                        file.write(b"\n")
                    if line.strip():
                        places[self._key(line, number)] = position, len(line)
                    position += len(line)
        self._places = places
        return places

    def _key(self, line: bytes, number: int) -> str:
        try:
            row = json.loads(line)
            row["value"]
            return row["key"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}:{number}: not a line of a journal ({error}), so answers may be lost; remove that line to "
                "ask it again, or give another path."
            ) from error


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
