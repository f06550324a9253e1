"""Records: one layout for every data set, loaders that stream into it, a synthetic world."""

from rlkit.data.jsonl import normalise
from rlkit.data.record import Passage, Record, to_json_line, to_record

__all__ = ["Passage", "Record", "normalise", "to_json_line", "to_record"]
