"""The worlds whose base models an ablation can start from: the quickstarts', and a harder one.

`care_hard` speaks as texts do: some facts are told in other words than questions use, some sentences contradict what a
plain one says, some say nothing that is asked. Its base model learns to answer with the plain fact, one hop at a time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rlkit.data.facts import IDLE, NAMES, OTHERWISE, RUMOUR, Telling
from rlkit.quickstart import care
from rlkit.quickstart.stages import WORLDS as QUICKSTARTS
from rlkit.quickstart.tokenizer import word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TELLING = Telling(paraphrased=0.5, rumours=1, noise=1)


def hard_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that knows the quickstart's words and those of the harder world."""
    others = [f"{NAMES[0]} {word}." for word in (*OTHERWISE.values(), *IDLE)]
    return word_tokenizer([*care.world_texts(), RUMOUR, *others])


WORLDS = {
    **QUICKSTARTS,
    # one word more than a fact has: a rumour is told by the word before it
    "care_hard": replace(
        care.WORLD,
        tokenizer=hard_tokenizer,
        conversations=partial(care.conversations, telling=TELLING),
        convolution_words=4,
    ),
}
