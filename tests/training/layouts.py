"""Tokenizers in the layouts of published models, and tiny models that use them: nothing can be downloaded here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlkit.data.synthetic import generate
from rlkit.prompts import chat_prompt

# The pre-tokenizers and templates of Qwen2 and Llama 3, as their repositories have them.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_WORDS = QWEN2_WORDS.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# What reasoning models do to earlier turns: everything up to </think> is taken out.
WITHOUT_THOUGHTS = QWEN2.replace("message['content'] +", "message['content'].split('</think>')[-1] +")
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def demonstrations(rows: int) -> list[dict[str, Any]]:
    return [dict(row) for row in generate("hard", rows=rows, seed=3, demonstrations=True)]


def bpe(words: str, special: list[str], template: str, bos: str | None = None, **roles: str) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(words), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([json.dumps(row) for row in demonstrations(40)], trainer)
    if bos is not None:
        ids = [(bos, core.token_to_id(bos))]
        core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", pair=None, special_tokens=ids)
        roles["bos_token"] = bos
    return PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=template, clean_up_tokenization_spaces=False, **roles
    )


def qwen2(template: str = QWEN2) -> Any:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return bpe(QWEN2_WORDS, special, template, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def llama3() -> Any:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return bpe(
        LLAMA3_WORDS, special, LLAMA3, bos="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<|end_of_text|>"
    )


def quickstart() -> Any:
    from rlkit.quickstart.tokenizer import word_tokenizer

    rows = demonstrations(400)
    return word_tokenizer([text for row in rows for text in (chat_prompt(row, None)[0]["content"], row["completion"])])


LAYOUTS: dict[str, Callable[[], Any]] = {"qwen2": qwen2, "llama3": llama3, "quickstart": quickstart}


def tiny_model(folder: Path, tokenizer: Any, **fields: Any) -> Path:
    """A model folder; its type is that of the layout, because `AutoTokenizer` reads a tokenizer as its model's type says."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    kind = {"<|im_end|>": "qwen2", "<|eot_id|>": "llama"}.get(tokenizer.eos_token, "lfm2")
    shape = {"vocab_size": len(tokenizer), **SHAPE, **fields}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape, **ends), dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_config(folder: Path, rows: list[dict[str, Any]], method: str = "sft", **values: Any) -> Path:
    """A config over the rows that starts from `folder/start`."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train = {"output_dir": str(folder / "run"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    config = {
        "method": method,
        "model": {"model_name_or_path": str(folder / "start"), **values.pop("model", {})},
        "prompt": {"system": None},
        "sources": {"rows": {"format": "records", "path": str(folder / "rows.jsonl")}},
        "train": {**train, "save_strategy": "no", **values.pop("train", {})},
        **values,
    }
    path = folder / f"{method}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
