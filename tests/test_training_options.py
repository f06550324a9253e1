"""What reaches `from_pretrained` and the tokenizer: the config's values, and no foreign code unless it says so by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlkit.config import Config, parse_config
from rlkit.errors import ConfigError
from rlkit.scratch import scratch_model
from rlkit.training import common

SHAPE = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def config(model: dict[str, Any], **train: Any) -> Config:
    sources = {"s": {"format": "synthetic", "level": "easy", "rows": 4}}
    return parse_config({"method": "grpo", "model": model, "sources": sources, "train": train})


def test_no_foreign_code_unless_the_config_says_so() -> None:
    model = {"model_name_or_path": "m"}
    assert common.model_options(config(model))["trust_remote_code"] is False
    assert common.model_options(config(model, trust_remote_code=True))["trust_remote_code"] is True


def test_model_fields_arrive() -> None:
    options = common.model_options(config({"model_name_or_path": "m", "dtype": "bfloat16", "model_revision": "v2"}))
    assert (options["dtype"], options["revision"]) == ("bfloat16", "v2")


def test_a_tokenizer_without_a_template_or_none_at_all(tmp_path: Path) -> None:
    shape = {**SHAPE, "num_key_value_heads": 1, "vocab_size": 300}
    folder = scratch_model(tmp_path / "model", shape, ["some text"], seed=1)
    given = config({"model_name_or_path": str(folder)})
    assert common.load_tokenizer(str(folder), given).chat_template
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        common.load_tokenizer(str(folder), given)
    with pytest.raises(ConfigError, match="has no tokenizer that can be loaded"):
        common.load_tokenizer(str(tmp_path), given)
