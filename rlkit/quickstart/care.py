"""The CARE quickstart: facts to look up and to chain, in the synthetic world.

The base model learns to answer a question by quoting one fact. It never sees the answer format, a question that needs
two facts, or a context as long as those of the `long` level.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rewards import Sample, care_format, exact_match, fact_coverage, quotes_in_context, token_f1, weighted
from rlkit.data.facts import NAMES, PLACES, RELATIONS, Fact, Telling, draw_context, question
from rlkit.data.record import Record
from rlkit.data.synthetic import LEVELS, generate
from rlkit.prompts import chat_prompt
from rlkit.quickstart.tokenizer import word_tokenizer
from rlkit.quickstart.world import Message, World, mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONTEXTS_PER_STEP = 32
QUESTIONS_PER_CONTEXT = 8
PLAINLY = Telling()
# With many facts from the start nothing is learned.
FACTS_BY_STAGE = ((2, 3, 4), (3, 4, 5, 6), (4, 6, 8), (4, 6, 8, 10))

MEASURES = weighted(
    em=(1.0, exact_match()),
    f1=(1.0, token_f1()),
    format=(1.0, care_format()),
    grounding=(1.0, quotes_in_context()),
    evidence_recall=(1.0, fact_coverage("recall")),
)


def world_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that knows every word a prompt or an answer about the synthetic world can hold."""
    return word_tokenizer(world_texts())


def world_texts() -> list[str]:
    """Texts that hold every word of prompts and answers."""
    facts = [
        str(Fact(name, relation, place)) for name, place in zip(NAMES, PLACES, strict=True) for relation in RELATIONS
    ]
    questions = [asked(question(NAMES[0], relation, hops=2), [])["content"] for relation in RELATIONS]
    demonstrations = [record["completion"] for record in generate("hard", rows=1, demonstrations=True)]
    return [*facts, *questions, *demonstrations]


def asked(text: str, sentences: Sequence[str]) -> Message:
    """The user's message for a question over sentences, one a passage; without any a further question about them."""
    record = {"task": "care", "question": text, "context": [{"title": "", "text": sentence} for sentence in sentences]}
    return chat_prompt(record, system=None)[0]


def conversations(rng: random.Random, done: float, telling: Telling = PLAINLY) -> list[list[Message]]:
    """One batch for the base model; all contexts are of the training split, so none is ever held out."""
    return [conversation(rng, count, telling) for count in rng.choices(facts_at(done), k=CONTEXTS_PER_STEP)]


def conversation(rng: random.Random, facts: int, telling: Telling = PLAINLY) -> list[Message]:
    """Messages of a conversation about a new context in which each answer quotes the one plain sentence that says it.

    >>> talk = conversation(random.Random(0), facts=3)
    >>> [message["role"] for message in talk[:2]], talk[1]["content"] in talk[0]["content"]
    (['user', 'assistant'], True)
    """
    context = draw_context(rng, facts, hops=0)
    rng.shuffle(context)
    plain, others = telling.sentences(rng, context)
    sentences = [*plain, *others]
    if others:
        rng.shuffle(sentences)
    messages = []
    answers = rng.sample(list(zip(context, plain, strict=True)), min(facts, QUESTIONS_PER_CONTEXT))
    for number, (fact, said) in enumerate(answers):
        messages.append(asked(question(fact.subject, fact.relation), [] if number else sentences))
        messages.append({"role": "assistant", "content": said})
    return messages


def facts_at(done: float) -> Sequence[int]:
    """The numbers of facts a context may have when the share `done` of all steps is over.

    >>> facts_at(0.0), facts_at(0.99)
    ((2, 3, 4), (4, 6, 8, 10))
    """
    return FACTS_BY_STAGE[int(done * len(FACTS_BY_STAGE))]


def measure(records: Sequence[Record], completions: Sequence[str]) -> dict[str, float | int]:
    """The means over all rows, each in [0, 1], with the mean number of words quoted and labelled, and the count `n`.

    >>> row = Record(context=[{"title": "", "text": "Ada hired Leo."}], evidence=["Ada hired Leo."], golds=["Leo"])
    >>> measure([row], ["<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Leo"])["evidence_recall"]
    1.0
    """
    pairs = zip(records, completions, strict=True)
    samples = [Sample.from_record(record, completion=completion) for record, completion in pairs]
    scores = MEASURES.batch(samples)
    means = {name: mean(score.parts[name] or 0.0 for score in scores) for name in MEASURES.parts}
    return {
        **means,
        "quoted_words": mean(_words(dict.fromkeys(sample.care.spans)) for sample in samples),
        "gold_words": mean(_words(sample.evidence) for sample in samples),
        "n": len(samples),
    }


def is_right(record: Record) -> bool:
    return exact_match()(Sample.from_record(record)) == 1.0


def evidence(record: Record) -> Sequence[str]:
    return record["evidence"]


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


WORLD = World(
    configs="",
    title="Held-out contexts, greedy decoding",
    levels=tuple(LEVELS),
    generate=generate,
    tokenizer=world_tokenizer,
    conversations=conversations,
    base_steps=700,
    convolution_words=3,
    max_new_tokens=32,  # two quoted facts, the tags and the answer take 21
    measure=measure,
    columns={
        "EM": "{em:.3f}",
        "F1": "{f1:.3f}",
        "format": "{format:.3f}",
        "grounding": "{grounding:.3f}",
        "evidence recall": "{evidence_recall:.3f}",
        "words quoted / needed": "{quoted_words:.1f} / {gold_words:.1f}",
        "rows": "{n}",
    },
    is_right=is_right,
    marks=evidence,
)
