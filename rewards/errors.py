"""The errors of this package: something about a reward or a row that a user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RewardError(ValueError):
    """A reward, its parameters or a row is wrong; the message names the part and the row."""


class RowError(RewardError):
    """The row itself is at fault: a field is missing or has the wrong shape, so that no completion could be judged."""


class OutOfTime(BaseException):
    """The time that a caller gave has passed, inside a part; no `except Exception` of a part can swallow it."""


def nearest(name: str, options: Iterable[str]) -> str:
    """The sentence that points from a wrong name to the right ones, and lists them.

    >>> nearest("tokenf1", ["token_f1", "exact_match"])
    "Did you mean 'token_f1'? There are: exact_match, token_f1."
    """
    names = sorted(options)
    close = difflib.get_close_matches(name, names, n=1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"There are: {', '.join(names) or 'none'}."
