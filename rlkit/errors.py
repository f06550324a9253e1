"""Errors that a user can act on. The command line prints their message without a traceback and exits with 2.

This module knows nothing of configs, data or training: it only names the kinds and finds near names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlkitError(Exception):
    """Something the user can put right; the message gives value, rule, consequence and way out."""


class ConfigError(RlkitError):
    """A config file or an override is wrong; the message starts with the config path (`train.max_steps`)."""


class DataError(RlkitError):
    """A data file or row is wrong; the message starts with `file:line` or the row's id."""


class RunError(RlkitError):
    """A run folder cannot be used as asked: it belongs to another config, is complete or is damaged."""


def nearest(name: str, options: Iterable[str]) -> str:
    """The sentence that points from a wrong name to a right one, or an empty string.

    >>> nearest("tokenf1", ["token_f1", "exact_match"])
    " Did you mean 'token_f1'?"
    >>> nearest("zzz", ["token_f1"])
    ''
    """
    close = difflib.get_close_matches(name, list(options), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
