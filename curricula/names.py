"""How error messages point from a wrong name to a right one. Knows nothing of what the names stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """Names as they stand in a message, in the order given.

    >>> listed(["easy", "hard"])
    "'easy', 'hard'"
    """
    return ", ".join(repr(name) for name in names) or "none"


def nearest(name: object, options: Iterable[str]) -> str:
    """The sentence that points from a wrong name to a right one, or an empty string.

    >>> nearest("hrad", ["easy", "hard"])
    " Did you mean 'hard'?"
    >>> nearest("zzz", ["easy", "hard"])
    ''
    """
    close = difflib.get_close_matches(str(name), list(options), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
