"""The quickstart's stand-in for a downloaded model: a tiny language model trained from scratch to look facts up.

From conversations about synthetic contexts it learns to answer a question by quoting one fact. It never sees the
answer format, a question that needs two facts, or a context as long as those of the `long` level.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.data.synthetic import NAMES, PLACES, RELATIONS, Fact, draw_context, generate, question
from rlkit.prompts import chat_prompt
from rlkit.quickstart.tokenizer import ASSISTANT, USER, word_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

STEPS = 700
CONTEXTS_PER_STEP = 32
QUESTIONS_PER_CONTEXT = 8
LEARNING_RATE = 1e-3
WARM_UP_STEPS = 100
DECAY_SHARE = 0.2  # of the steps, at the end
# With many facts from the start nothing is learned.
FACTS_BY_STAGE = ((2, 3, 4), (3, 4, 5, 6), (4, 6, 8), (4, 6, 8, 10))


def base_model(
    folder: Path, seed: int, steps: int = STEPS, on_step: Callable[[int, float], None] = lambda step, loss: None
) -> Path:
    """Train a model on `steps` batches of conversations, write it with its tokenizer to `folder` and return that.

    `on_step` is told each step's number, from 1, and loss. Lfm2 because a short convolution followed by one layer of
    attention learns to match name and relation within minutes on a CPU, which plain transformers of this size do not.
    """
    import torch
    from transformers import Lfm2Config, Lfm2ForCausalLM

    tokenizer = world_tokenizer()
    torch.manual_seed(seed)
    model = Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            block_auto_adjust_ff_dim=False,
            num_hidden_layers=2,
            layer_types=["conv", "full_attention"],
            conv_L_cache=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, steps))
    for step, (tokens, labels) in enumerate(batches(tokenizer, seed, steps), start=1):
        seen = (tokens != tokenizer.pad_token_id).long()
        loss = model(input_ids=tokens, attention_mask=seen, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        on_step(step, loss.item())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def world_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer that knows every word a prompt or an answer about the synthetic world can hold."""
    facts = [
        str(Fact(name, relation, place)) for name, place in zip(NAMES, PLACES, strict=True) for relation in RELATIONS
    ]
    questions = [asked(question(NAMES[0], relation, hops=2), [])["content"] for relation in RELATIONS]
    demonstrations = [record["completion"] for record in generate("hard", rows=1, demonstrations=True)]
    return word_tokenizer([*facts, *questions, *demonstrations])


def asked(text: str, facts: Sequence[Fact]) -> dict[str, str]:
    """The user's message for a question over facts, one a passage; without facts a further question about them."""
    record = {"task": "care", "question": text, "context": [{"title": "", "text": str(fact)} for fact in facts]}
    return chat_prompt(record, system=None)[0]


def conversation(rng: random.Random, facts: int) -> list[dict[str, str]]:
    """Messages of a conversation about a new context in which each answer quotes one of its facts.

    >>> talk = conversation(random.Random(0), facts=3)
    >>> [message["role"] for message in talk[:2]], talk[1]["content"] in talk[0]["content"]
    (['user', 'assistant'], True)
    """
    context = draw_context(rng, facts, hops=0)
    rng.shuffle(context)
    messages = []
    for number, fact in enumerate(rng.sample(context, min(facts, QUESTIONS_PER_CONTEXT))):
        messages.append(asked(question(fact.subject, fact.relation), [] if number else context))
        messages.append({"role": "assistant", "content": str(fact)})
    return messages


def batches(tokenizer: Any, seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels of each step, both (contexts, tokens); only the replies are labelled.

    The seed's contexts come from the training split, so no test context is ever among them.
    """
    rng = random.Random(f"base model {seed}")
    user, assistant = tokenizer.convert_tokens_to_ids([USER, ASSISTANT])
    for step in range(steps):
        counts = rng.choices(facts_at(step, steps), k=CONTEXTS_PER_STEP)
        texts = [tokenizer.apply_chat_template(conversation(rng, count), tokenize=False) for count in counts]
        tokens = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").input_ids
        turns = (tokens == user).int() - (tokens == assistant).int()
        replies = (turns.cumsum(dim=1) == 0) & (tokens != assistant) & (tokens != tokenizer.pad_token_id)
        yield tokens, tokens.masked_fill(~replies, -100)


def facts_at(step: int, steps: int) -> Sequence[int]:
    """The numbers of facts a context may have at a step, counted from 0.

    >>> facts_at(0, 600), facts_at(599, 600)
    ((2, 3, 4), (4, 6, 8, 10))
    """
    return FACTS_BY_STAGE[step * len(FACTS_BY_STAGE) // steps]


def rate_share(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a linear warm-up, and a linear decay at the end.

    >>> [rate_share(step, 600) for step in (0, 300, 540, 599)]
    [0.01, 1.0, 0.5, 0.008333333333333333]
    """
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (steps * DECAY_SHARE))
