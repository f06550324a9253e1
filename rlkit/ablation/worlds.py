"""The worlds whose base models an ablation can start from: the quickstarts', and a harder one.

`care_hard` speaks as texts do: some facts are told in other words than questions use, some sentences contradict what a
plain one says, some say nothing that is asked. Its base model learns to answer with the plain fact, one hop at a time.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from rlkit.data.facts import IDLE, NAMES, OTHERWISE, RUMOUR, Telling, draw_context, question
from rlkit.quickstart import care
from rlkit.quickstart.stages import WORLDS as QUICKSTARTS
from rlkit.quickstart.tokenizer import word_tokenizer
from rlkit.quickstart.world import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TELLING = Telling(paraphrased=0.5, rumours=1, noise=1)
QUESTIONS_PER_CONTEXT = 8


def hard_conversations(rng: random.Random, done: float) -> list[list[Message]]:
    """One batch for the base model of `care_hard`, of as many facts as the quickstart's at that point."""
    return [hard_conversation(rng, count) for count in rng.choices(care.facts_at(done), k=care.CONTEXTS_PER_STEP)]


def hard_conversation(rng: random.Random, facts: int) -> list[Message]:
    """Messages about a new context in which each answer quotes the one plain sentence that says it.

    >>> talk = hard_conversation(random.Random(0), facts=3)
    >>> [message["role"] for message in talk[:2]], talk[1]["content"] in talk[0]["content"]
    (['user', 'assistant'], True)
    """
    context = draw_context(rng, facts, hops=0)
    rng.shuffle(context)
    plain, others = TELLING.sentences(rng, context)
    sentences = [*plain, *others]
    rng.shuffle(sentences)
    messages: list[Message] = []
    for number, (fact, said) in enumerate(
        rng.sample(list(zip(context, plain, strict=True)), min(facts, QUESTIONS_PER_CONTEXT))
    ):
        messages.append(care.asked(question(fact.subject, fact.relation), [] if number else sentences))
        messages.append({"role": "assistant", "content": said})
    return messages


def hard_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that knows the quickstart's words and those of the harder world."""
    others = [f"{NAMES[0]} {word}." for word in (*OTHERWISE.values(), *IDLE)]
    return word_tokenizer([*care.world_texts(), RUMOUR, *others])


WORLDS = {
    **QUICKSTARTS,
    # one word more than a fact has: a rumour is told by the word before it
    "care_hard": replace(care.WORLD, tokenizer=hard_tokenizer, conversations=hard_conversations, convolution_words=4),
}
