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
    """Give output embeddings of which peft trains single rows what TRL's fused loss reads of them.

    Peft's wrapper passes on the weight alone, without the `bias`; and under ZeRO-3 that weight is a whole tensor put
    together from the split one, which TRL would try to gather.
    """
    from transformers.integrations import is_deepspeed_zero3_enabled

    head = model.get_output_embeddings()
    adapter = getattr(head, "token_adapter", None)
    if adapter is None:
        return
    head.bias = getattr(adapter.get_base_layer(), "bias", None)
    if is_deepspeed_zero3_enabled():
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        merge = adapter.get_merged_weights

        def merged(adapters: Any) -> Any:
            weight = merge(adapters)
            weight.ds_status = ZeroParamStatus.AVAILABLE
            return weight

        adapter.get_merged_weights = merged


def collect_rows_anywhere() -> None:
    """Let peft read single rows of embeddings that ZeRO-3 has split on whatever device the run uses.

    Its own way names CUDA, so that such a run fails on a CPU before the first step.
    """
    import deepspeed
    from peft.tuners.trainable_tokens.layer import TrainableTokensLayer

    def collect(layer: Any, weight: Any, rows: list[int], _: int) -> Any:
        with deepspeed.zero.GatheredParameters([weight]):
            return weight.detach()[rows].clone()

    TrainableTokensLayer._collect_token_weights = collect
