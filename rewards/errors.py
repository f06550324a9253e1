"""The one error of this package: something about a reward or a row that a user can put right."""

from __future__ import annotations


class RewardError(ValueError):
    """A reward, its parameters or a row is wrong; the message names the part and the row."""
