"""The tags of the CARE format as tokens of a model's own vocabulary.

Knows tokenizers and embedding rows; knows no data and no trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewards.parse_care import END_RETRIEVAL, END_THINK, RETRIEVAL, THINK
from rlkit.runs import write_folder

TAGS = (THINK, END_THINK, RETRIEVAL, END_RETRIEVAL)


def add_tags(tokenizer: Any) -> dict[int, list[int]]:
    """Make each tag one token; returns the new tokens with those that spelled the tag before.

    Not special ones: GRPO decodes without special tokens, so a reward would never see them.
    """
    from tokenizers import AddedToken

    spelled = {tag: tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in TAGS}
    new = [tag for tag, parts in spelled.items() if len(parts) > 1]
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in new])
    return {tokenizer.convert_tokens_to_ids(tag): spelled[tag] for tag in new}


def tagged_model(name: str, tokenizer: Any, folder: Path, options: Mapping[str, Any]) -> Path:
    """Write the model `name` to `folder` with every tag as one token, unless it is there.

    The row of a new token is the mean of the rows that spelled the tag, in the input and in the output embeddings: the
    model starts from what it knew. Embeddings only grow; rows that a model keeps in reserve are used first.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if folder.is_dir():
        return folder
    model: Any = AutoModelForCausalLM.from_pretrained(name, **{**options, "dtype": "auto"})
    new = add_tags(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            for row, parts in new.items():
                table.weight[row] = table.weight[parts].mean(dim=0)

    def fill(draft: Path) -> None:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)

    return write_folder(folder, fill)


def tag_rows(name: str, tokenizer: Any, options: Mapping[str, Any]) -> dict[str, list[int]]:
    """The embeddings of the model `name` and the rows of the tags in them, as peft's `trainable_token_indices`.

    Output embeddings that are tied to those of the input follow them and are not named.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {key: options[key] for key in ("revision", "trust_remote_code") if key in options}
    config = AutoConfig.from_pretrained(name, **own)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=options.get("trust_remote_code", False))
    tables = [model.get_input_embeddings()]
    if not config.get_text_config().tie_word_embeddings:
        tables.append(model.get_output_embeddings())
    rows = tokenizer.convert_tokens_to_ids(list(TAGS))
    return {path: rows for path, module in model.named_modules() if any(module is table for table in tables)}


def complete_head(model: Any) -> None:
    """Give output embeddings of which peft trains single rows the `bias` that TRL's fused loss reads beside `weight`.

    Peft's wrapper passes on the weight alone.
    """
    head = model.get_output_embeddings()
    adapter = getattr(head, "token_adapter", None)
    if adapter is not None:
        head.bias = getattr(adapter.get_base_layer(), "bias", None)
