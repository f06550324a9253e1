"""What a row's own labels describe as an answer, for SFT."""

from __future__ import annotations

from rewards import Sample
from rewards.gold import gold_completion
from rlkit.data.record import Record


def demonstrated(record: Record) -> Record:
    """The record itself, with the completion that its labels describe.

    >>> row = Record(task="care", question="Who?", context=[{"title": "", "text": "Ada hired Leo."}], golds=["Leo"])
    >>> demonstrated(row)["completion"].endswith("Answer: Leo")
    True
    """
    record["completion"] = gold_completion(Sample.from_record(record))
    return record
