"""One composed reward in the forms that training frameworks call: TRL, verl, verifiers, OpenRLHF.

Knows how each framework calls a reward and where its rows keep the record; knows no formula, and imports none of them.
"""

from rewards.adapters.openrlhf import for_openrlhf, to_openrlhf_row
from rewards.adapters.trl import completion_text, for_trl, samples_from_columns
from rewards.adapters.verifiers import for_verifiers, rubric_for_verifiers, to_verifiers_row
from rewards.adapters.verl import for_verl, to_verl_row

__all__ = [
    "completion_text",
    "for_openrlhf",
    "for_trl",
    "for_verifiers",
    "for_verl",
    "rubric_for_verifiers",
    "samples_from_columns",
    "to_openrlhf_row",
    "to_verifiers_row",
    "to_verl_row",
]
