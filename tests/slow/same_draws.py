"""Sampling that does not know how many processes there are: the same prompt gets the same completions in every run.

TRL's own sampling takes the next random numbers of each process, so two numbers of processes cannot be compared. Here the
noise of a completion depends on its prompt, the step and its place in its group alone: Gumbel noise on the logits and the
largest one taken is exactly sampling at temperature 1. Handed to TRL as its `rollout_func`; the model that answers is the
trainer's, gathered by TRL's own function where ZeRO-3 has split it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList


class KeyedNoise(LogitsProcessor):
    def __init__(self, keys: list[str]) -> None:
        digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self.generators = [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1) for digest in digests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        drawn = [torch.rand(scores.shape[-1], generator=each, dtype=torch.float64) for each in self.generators]
        return scores - torch.stack(drawn).log().neg().log().to(scores)


def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """TRL's `rollout_func`: one completion for each prompt of this process."""
    from trl.models import unwrap_model_for_generation

    tokenizer, args = trainer.processing_class, trainer.args
    asked = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)["input_ids"]
    encoded = tokenizer.pad({"input_ids": asked}, padding_side="left", return_tensors="pt")
    first = trainer.accelerator.process_index * len(prompts)  # a process holds a stretch of the round's completions
    keys = [
        json.dumps([prompt, trainer.state.global_step, (first + place) % args.num_generations])
        for place, prompt in enumerate(prompts)
    ]
    with torch.no_grad(), unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
        texts = model.generate(
            **encoded,
            do_sample=False,
            max_new_tokens=args.max_completion_length,
            logits_processor=LogitsProcessorList([KeyedNoise(keys)]),
            pad_token_id=tokenizer.pad_token_id,
        )
    width = encoded["input_ids"].shape[1]
    answers = [_ended(row.tolist(), tokenizer.eos_token_id) for row in texts[:, width:]]
    return {"prompt_ids": asked, "completion_ids": answers, "logprobs": None}


def _ended(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids
