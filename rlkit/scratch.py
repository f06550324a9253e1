"""A randomly initialised model with a tokenizer of its own, for runs that must not download anything.

The result is an ordinary model folder, read by `from_pretrained` like any other. It knows nothing: such a model shows
that a run works, not that a method does.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError, nearest
from rlkit.plain import plain
from rlkit.runs import write_folder

MAX_VOCAB_TOKENS = 1_000_000  # several times the largest in use
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def scratch_model(
    folder: Path, shape: Mapping[str, Any], texts: Iterable[str], seed: int, tokens: Iterable[str] = ()
) -> Path:
    """Write a model of `shape` and a byte-level BPE tokenizer trained on `texts` to `folder`, whole or not at all.

    `tokens` are texts that become one token each. `shape` holds `model_type` (as transformers names it), `vocab_size` (tokens, default 4096) and that type's config
    fields. Raises `ConfigError` for an unknown type or field.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    if folder.is_dir():
        return folder
    fields = {key: plain(value) for key, value in shape.items()}
    kind = _checked_kind(fields.pop("model_type", "qwen2"))
    vocab_size = fields.pop("vocab_size", 4096)
    _check_fields(kind, fields)
    tokenizer = bpe_tokenizer(texts, vocab_size)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in tokens])
    try:
        config = AutoConfig.for_model(
            kind,
            **fields,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        set_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Fields are checked by whatever code first uses them, so a wrong one can fail as anything: a size of 0 divides.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"scratch: {fields!r:.200} describe no model of type {kind!r}, so there is none to start from ({reason:.200}); "
            "compare them with the fields of a published config.json of that type."
        ) from error

    def fill(draft: Path) -> None:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)

    return write_folder(folder, fill)


def _checked_kind(kind: Any) -> str:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if not isinstance(kind, str):
        raise ConfigError(f"scratch.model_type: is {kind!r:.60}, but must be text such as qwen2 or llama.")
    usable = [name for name in CONFIG_MAPPING if name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES]
    if kind not in usable:
        problem = "is no causal language model" if kind in CONFIG_MAPPING else "is no type that transformers knows"
        raise ConfigError(
            f"scratch.model_type: {kind!r:.60} {problem}; name one such as qwen2 or llama.{nearest(kind, usable)}"
        )
    return kind


def _check_fields(kind: str, given: Mapping[str, Any]) -> None:
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config: Any = CONFIG_MAPPING[kind]
    # A field that is not there would be kept and never looked at.
    known = [name for base in (config, PretrainedConfig) for name in inspect.signature(base).parameters]
    known += [field.name for field in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []
    known += config.attribute_map
    for name in given:
        if name not in known:
            raise ConfigError(f"scratch.{name}: model type {kind!r} has no such field.{nearest(str(name), known)}")


def bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer trained on `texts`, with ChatML turns; it can spell any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if isinstance(vocab_size, bool) or not isinstance(vocab_size, int):
        raise ConfigError(
            f"scratch.vocab_size: is {vocab_size!r:.60}, but must be a whole number of tokens, such as 4096."
        )
    if vocab_size < 300:
        raise ConfigError(
            f"scratch.vocab_size: {vocab_size} is too small for 256 bytes and the chat tokens; use >= 300."
        )
    if vocab_size > MAX_VOCAB_TOKENS:
        raise ConfigError(f"scratch.vocab_size: {vocab_size!r:.60} is too large to hold; use <= {MAX_VOCAB_TOKENS:,}.")
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
