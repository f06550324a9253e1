"""A randomly initialised model with a tokenizer of its own, for runs that must not download anything.

The result is an ordinary model folder, read by `from_pretrained` like any other. It knows nothing: such a model shows
that a run works, not that a method does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def scratch_model(folder: Path, shape: Mapping[str, Any], texts: Iterable[str], seed: int) -> Path:
    """Write a model of `shape` and a byte-level BPE tokenizer trained on `texts` to `folder`, whole or not at all.

    `shape` holds `model_type` (as transformers names it), `vocab_size` (tokens, default 4096) and that type's config
    fields. Raises `ConfigError` for an unknown type or field.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    if folder.is_dir():
        return folder
    fields = dict(shape)
    kind = fields.pop("model_type", "qwen2")
    tokenizer = bpe_tokenizer(texts, int(fields.pop("vocab_size", 4096)))
    try:
        config = AutoConfig.for_model(
            kind,
            **fields,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        unknown = sorted(set(fields) - set(config.to_dict()))
        if unknown:
            raise ConfigError(f"scratch.{unknown[0]}: model type {kind!r} has no such field.")
        set_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scratch: {dict(shape)!r} describes no model: {error}") from error
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(temporary)  # another process was first with the same model
    return folder


def bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer trained on `texts`, with ChatML turns; it can spell any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < 300:
        raise ConfigError(
            f"scratch.vocab_size: {vocab_size} is too small for 256 bytes and the chat tokens; use >= 300."
        )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )
