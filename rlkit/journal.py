"""An append-only JSONL file of answers that were paid for, so that a killed run asks nothing twice.

Knows keys and values; refuses to know what they mean.
"""

from __future__ import annotations

import json
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
        self._values: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def get(self, key: str) -> Any | None:
        """The value of a key, or `None`."""
        with self._lock:
            return self._read().get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a value; it is on the disk's queue when this returns, so killing the process does not lose it."""
        line = json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n"
        with self._lock:
            self._read()[key] = value
            # One write in append mode: lines of several processes do not run into each other.
            with self.path.open("ab", buffering=0) as file:
                file.write(line.encode())

    def _read(self) -> dict[str, Any]:
        if self._values is not None:
            return self._values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {}
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
                        key, value = self._parse(line, number)
                        values[key] = value
                    position += len(line)
        self._values = values
        return values

    def _parse(self, line: bytes, number: int) -> tuple[str, Any]:
        try:
            row = json.loads(line)
            return row["key"], row["value"]
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
