"""Data inside an HTML file: compressed pages in elements that no browser executes.

Base64 holds no `<`, so whatever a completion says, it cannot end its element. Knows no run.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterator
from typing import Any

PAGE_BYTES = 192 * 1024  # before compression: read within a few milliseconds, and still compressed well


class Pages:
    """Items one after the other, in pages of about `PAGE_BYTES`; an item is found again by its number.

    >>> pages = Pages("t", page_bytes=8)
    >>> [pages.add(text) for text in ("one", "two", "three")]
    [0, 1, 2]
    >>> pages.starts
    [0, 2]
    """

    def __init__(self, name: str, page_bytes: int = PAGE_BYTES) -> None:
        self.name, self.page_bytes = name, page_bytes
        self.starts: list[int] = []
        self.count = 0
        self._done: list[bytes] = []
        self._open: list[str] = []
        self._size = 0

    def add(self, item: Any) -> int:
        """Add an item and return its number."""
        if not self._open:
            self.starts.append(self.count)
        text = item if isinstance(item, Json) else dumps(item)
        self._open.append(text)
        self._size += len(text)
        self.count += 1
        if self._size >= self.page_bytes:
            self._close()
        return self.count - 1

    def elements(self) -> Iterator[str]:
        """The pages as elements, in order, with the ids `NAME0`, `NAME1`, ..."""
        self._close()
        for number, page in enumerate(self._done):
            yield _element(f"{self.name}{number}", page)

    def _close(self) -> None:
        if self._open:
            self._done.append(_packed("[" + ",".join(self._open) + "]"))
            self._open, self._size = [], 0


class Json(str):
    """Text that is JSON already."""


def element(name: str, value: Any) -> str:
    """One value in an element of its own."""
    return _element(name, _packed(dumps(_finite(value))))


def _finite(value: Any) -> Any:
    """The value with null for what is no number: JSON has no NaN, and a diverged run logs it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any) -> Json:
    """Compact JSON in ASCII, so that lone surrogates of a completion survive as escapes; NaN and infinity are refused."""
    return Json(json.dumps(value, separators=(",", ":"), allow_nan=False))


def _packed(text: str) -> bytes:
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0))


def _element(name: str, packed: bytes) -> str:
    return f'<script type="application/gzip" id="{name}">{packed.decode()}</script>\n'
