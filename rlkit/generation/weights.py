"""What `from_pretrained` gives, with its errors in plain words: tokenizers, weights, how much a model reads.

Knows transformers' loading; knows no question and no answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewards.parse_care import END_RETRIEVAL, RETRIEVAL
from rlkit.errors import ConfigError, RlkitError, nearest
from rlkit.generation.model import Conversation

_TAGS = ("<think>", "</think>", RETRIEVAL, END_RETRIEVAL)
_OWN = ("num_return_sequences", "return_dict_in_generate", "eos_token_id", "pad_token_id", "bos_token_id")


class GenerationError(RlkitError):
    """A model on this machine could not answer: no memory, no room in its window, no chat template.

    `number` is that of the conversation, from 0, where a single one is at fault.
    """

    number: int | None = None


def load_tokenizer(place: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The tokenizer of a folder or hub model; raises `ConfigError` where there is none or it has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _unloadable(place, "tokenizer", error) from error
    if not tokenizer.chat_template:
        raise ConfigError(
            f"model_name_or_path: the tokenizer of {place} has no chat template, so no prompt can be written for it; "
            "take the instruction-tuned model, or put a chat_template.jinja into its folder."
        )
    return tokenizer


def load_weights(
    place: str,
    *,
    dtype: str,
    device: str | None,
    revision: str | None,
    attn_implementation: str | None,
    trust_remote_code: bool,
) -> Any:
    """The model of a folder or hub name, in evaluation mode on its device; an adapter comes with the model it changes."""
    import torch
    from transformers import AutoModelForCausalLM

    options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    if device == "auto":
        options["device_map"] = "auto"
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, **options
        )
    except (OSError, ValueError, ImportError) as error:
        raise _unloadable(place, "model", error) from error
    if device == "auto":
        return model.eval()
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        return model.to(device).eval()
    except (RuntimeError, torch.OutOfMemoryError) as error:
        reason = str(error).splitlines()[0]
        raise GenerationError(
            f"{place}: does not go onto device {device!r} ({reason:.200}); name another device, device: auto for several "
            "GPUs, or a smaller dtype."
        ) from error


def window_tokens(place: str, revision: str | None, trust_remote_code: bool) -> int | None:
    """How many tokens the model reads and writes together, where its config says so."""
    from transformers import AutoConfig

    folder = Path(place)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        from peft import PeftConfig

        place = PeftConfig.from_pretrained(place).base_model_name_or_path or place
    try:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _unloadable(place, "model", error) from error
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_sampling(sampling: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a setting that rlkit sets itself."""
    for name in _OWN:
        if name in sampling:
            raise ConfigError(f"sampling.{name}: is set by rlkit, one answer to each question; remove it.")


def generation_config(settings: Mapping[str, Any]) -> Any:
    """transformers' `GenerationConfig` of these settings; raises `ConfigError` for a wrong name or value."""
    from transformers import GenerationConfig

    known = [name for name in vars(GenerationConfig()) if not name.startswith("_") and name not in _OWN]
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"sampling.{name}: transformers' GenerationConfig has no such field.{nearest(name, known)}"
            )
    try:
        config = GenerationConfig(**settings)
        config.validate(strict=True)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"sampling: transformers' GenerationConfig refuses {dict(settings)!r}: {reason:.300}"
        ) from error
    return config


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those of the model's own settings, and the one that its tokenizer ends a turn with.

    Both, because a model trained further often ends with its chat template's token while its settings name the old one.
    """
    told = model.generation_config.eos_token_id
    ends = [] if told is None else told if isinstance(told, list) else [told]
    ends = [*ends, tokenizer.eos_token_id]
    return list(dict.fromkeys(token for token in ends if token is not None))


def chat_token_ids(tokenizer: Any) -> frozenset[int]:
    """The special tokens that are markup of the chat and no part of an answer; tags of the answer's format are none."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    tags = {number for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip() in _TAGS}
    return frozenset((special | set(tokenizer.all_special_ids)) - tags)


def prompt_ids(tokenizer: Any, conversation: Conversation, name: str, options: Mapping[str, Any]) -> list[int]:
    """The tokens of a conversation, chat template and all; raises `GenerationError` where the template refuses it."""
    from jinja2 import TemplateError

    try:
        rendered = tokenizer.apply_chat_template(
            list(conversation), add_generation_prompt=True, return_dict=True, **options
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in conversation)
        raise GenerationError(
            f"{name}: its chat template refuses messages of {roles} ({error}); where it wants no system message, leave "
            "that out (prompt.system: null)."
        ) from error
    return list(rendered["input_ids"])


def check_room(prompt_tokens: int, new_tokens: int, window: int | None, name: str) -> None:
    """Raise `GenerationError` where a prompt and its answer may run over what the model reads."""
    if window is not None and prompt_tokens + new_tokens > window:
        raise GenerationError(
            f"{name}: a prompt has {prompt_tokens:,} tokens and its answer up to {new_tokens:,}, but the model reads "
            f"{window:,}, so it would answer from a cut text; shorten the context or lower max_new_tokens."
        )


def _unloadable(place: str, what: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())
    path = Path(place)
    folders = [other.name for other in path.parent.iterdir() if other.is_dir()] if path.parent.is_dir() else []
    here = "" if path.exists() else f" There is no such folder here either.{nearest(path.name, folders)}"
    return ConfigError(
        f"model_name_or_path: no {what} can be loaded from {place!r} ({reason:.300}); name a run's folder, a model's "
        f"folder or a model on the hub.{here}"
    )
