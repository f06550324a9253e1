"""What a model of the quickstart says to held-out records, greedily.

Knows the tiny model's sizes; refuses to know how the model was trained and what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rlkit.data.record import Record
from rlkit.prompts import prompt_of

PROMPTS_PER_BATCH = 200


def complete(
    model_folder: Path,
    records: Sequence[Record],
    max_new_tokens: int,
    on_batch: Callable[[int], None] = lambda prompts: None,
) -> list[str]:
    """The model's greedy completion of each record's prompt, in order; `on_batch` is told how many prompts are done."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    prompts = [
        tokenizer.apply_chat_template(prompt_of(record, system=None), tokenize=False, add_generation_prompt=True)
        for record in records
    ]
    completions: list[str] = []
    for start in range(0, len(prompts), PROMPTS_PER_BATCH):
        batch = prompts[start : start + PROMPTS_PER_BATCH]
        inputs = tokenizer(batch, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )
        completions += tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        on_batch(len(batch))
    return completions
