"""The quickstart's stand-in for a downloaded model: a tiny language model trained from scratch on a world's talk.

Shape, optimizer, schedule and loop for every world; what is said, and in which words, is the world's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.quickstart.tokenizer import ASSISTANT, USER
from rlkit.quickstart.world import HEAD_SIZE, World

if TYPE_CHECKING:
    from torch import Tensor

LEARNING_RATE = 1e-3  # of a model RATE_WIDTH wide
RATE_WIDTH = 128
WARM_UP_STEPS = 100
DECAY_SHARE = 0.2  # of the steps, at the end


def base_model(
    world: World,
    folder: Path,
    seed: int,
    steps: int | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Path:
    """Train a model on `steps` batches of conversations, write it with its tokenizer to `folder` and return that.

    `on_step` is told each step's number, from 1, and loss. Lfm2 because a short convolution followed by one layer of
    attention learns to match two details within minutes on a CPU, which plain transformers of this size do not; the
    world says how many words the convolution must hold.
    """
    import torch
    from transformers import Lfm2Config, Lfm2ForCausalLM

    steps = world.base_steps if steps is None else steps
    tokenizer = world.tokenizer()
    torch.manual_seed(seed)
    model = Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=len(tokenizer),
            hidden_size=world.hidden_size,
            intermediate_size=2 * world.hidden_size,
            block_auto_adjust_ff_dim=False,
            num_hidden_layers=2,
            layer_types=["conv", "full_attention"],
            conv_L_cache=world.convolution_words,
            num_attention_heads=world.hidden_size // HEAD_SIZE,
            num_key_value_heads=world.hidden_size // HEAD_SIZE,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.train()
    optimizer = torch.optim.AdamW(scaled_to_width(model, world.hidden_size), betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, steps))
    for step, (tokens, labels) in enumerate(batches(world, tokenizer, seed, steps), start=1):
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


def scaled_to_width(model: Any, width: int) -> list[dict[str, Any]]:
    """The optimizer's groups of a new model; its matrices are drawn smaller, in place, the wider it is than RATE_WIDTH.

    A rate that is right at one width is too high at a wider one for its matrices, and for nothing else: with one rate
    for all, whichever, a model 256 or 384 wide stands at a loss of .3 where one 128 wide has learned. So Adam's rate
    of a matrix falls with 1 / width, its spread with 1 / sqrt(width), that of the output layer with 1 / width
    (Yang et al., "Tensor Programs V", 2022, Table 8); embeddings, norms and short convolutions stay as they are.
    """
    import torch

    share = RATE_WIDTH / width
    matrices, others = [], []
    output = model.get_output_embeddings().weight
    read_in = model.get_input_embeddings().weight
    for parameter in model.parameters():
        if parameter.dim() == 2 and parameter is not read_in:
            matrices.append(parameter)
            with torch.no_grad():
                parameter.mul_(share if parameter is output else share**0.5)
        else:
            others.append(parameter)
    return [{"params": matrices, "lr": LEARNING_RATE * share}, {"params": others, "lr": LEARNING_RATE}]


def batches(world: World, tokenizer: Any, seed: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels of each step, both (conversations, tokens); only the replies are labelled."""
    rng = random.Random(f"base model {seed}")
    user, assistant = tokenizer.convert_tokens_to_ids([USER, ASSISTANT])
    for step in range(steps):
        talks = world.conversations(rng, step / steps)
        texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
        tokens = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").input_ids
        turns = (tokens == user).int() - (tokens == assistant).int()
        replies = (turns.cumsum(dim=1) == 0) & (tokens != assistant) & (tokens != tokenizer.pad_token_id)
        yield tokens, tokens.masked_fill(~replies, -100)


def rate_share(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a linear warm-up, and a linear decay at the end.

    >>> [rate_share(step, 600) for step in (0, 300, 540, 599)]
    [0.01, 1.0, 0.5, 0.008333333333333333]
    """
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (steps * DECAY_SHARE))
