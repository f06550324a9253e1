"""What a model of the quickstart gets right on held-out records: greedy completions, scored by the parts of `rewards`.

Knows the tiny model's sizes; refuses to know how the model was trained.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rewards import Sample, care_format, exact_match, fact_coverage, quotes_in_context, token_f1, weighted
from rlkit.data.record import Record
from rlkit.prompts import chat_prompt

MAX_NEW_TOKENS = 32  # two quoted facts, the tags and the answer take 21
PROMPTS_PER_BATCH = 200

MEASURES = weighted(
    em=(1.0, exact_match()),
    f1=(1.0, token_f1()),
    format=(1.0, care_format()),
    grounding=(1.0, quotes_in_context()),
    evidence_recall=(1.0, fact_coverage("recall")),
)


def complete(
    model_folder: Path, records: Sequence[Record], on_batch: Callable[[int], None] = lambda prompts: None
) -> list[str]:
    """The model's greedy completion of each record's prompt, in order; `on_batch` is told how many prompts are done."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    prompts = [
        tokenizer.apply_chat_template(chat_prompt(record, system=None), tokenize=False, add_generation_prompt=True)
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
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
            )
        completions += tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
        on_batch(len(batch))
    return completions


def measure(records: Sequence[Record], completions: Sequence[str]) -> dict[str, float | int]:
    """The means over all rows, each in [0, 1], with the mean number of words quoted and labelled, and the count `n`.

    >>> row = Record(context=[{"title": "", "text": "Ada hired Leo."}], evidence=["Ada hired Leo."], golds=["Leo"])
    >>> measure([row], ["<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Leo"])["evidence_recall"]
    1.0
    """
    samples = [
        Sample.from_record(record, completion=completion)
        for record, completion in zip(records, completions, strict=True)
    ]
    scores = MEASURES.batch(samples)
    means = {name: _mean(score.parts[name] or 0.0 for score in scores) for name in MEASURES.parts}
    return {
        **means,
        "quoted_words": _mean(_words(dict.fromkeys(sample.care.spans)) for sample in samples),
        "gold_words": _mean(_words(sample.evidence) for sample in samples),
        "n": len(samples),
    }


def _mean(values: Any) -> float:
    return round(statistics.fmean(values), 4)


def _words(texts: Any) -> int:
    return sum(len(text.split()) for text in texts)
