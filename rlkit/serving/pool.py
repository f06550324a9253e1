"""Worker processes that score rows for the server. Knows rows and what to say of one that has no score; knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rewards.compose import Weighted
from rlkit.serving.bodies import Row, error_row, score_row
from rlkit.workers import Fate, Workers


class Pool(Workers[Row, bytes]):
    """Several processes with the same reward; a row that cannot be scored has a result with an error."""

    def __init__(self, reward: Weighted, workers: int) -> None:
        super().__init__(partial(score_row, reward), workers, _lost, name="scorer")

    async def score(self, rows: Sequence[Row], seconds: float) -> list[bytes]:
        """One result a row, in order; rows that are not scored within `seconds` are results with an error."""
        return [
            result if result else _late(row, seconds)
            for row, result in zip(rows, await self.map(rows, seconds), strict=True)
        ]


def _lost(row: Row, fate: Fate) -> bytes:
    if fate == "late":
        return b""
    died = "the process that scored it died, killed or out of memory, and so did the next"
    return error_row(row[0], f"row {row[0]}: {died}.")


def _late(row: Row, seconds: float) -> bytes:
    late = f"not scored within {seconds:g} s, the deadline of a request; send fewer rows at a time"
    return error_row(row[0], f"row {row[0]}: {late}.")
