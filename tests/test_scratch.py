"""A shape that describes no model is refused in one line before anything is written."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from rlkit.errors import ConfigError
from rlkit.scratch import scratch_model

SHAPE: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": "abc"}, r"scratch\.vocab_size: is 'abc', but must be a whole number of tokens"),
        ({"vocab_size": True}, r"scratch\.vocab_size: is True"),
        ({"vocab_size": 400.5}, r"scratch\.vocab_size: is 400\.5"),
        ({"vocab_size": 100}, r"scratch\.vocab_size: 100 is too small"),
        ({"vocab_size": 10**30}, r"scratch\.vocab_size: 10+ is too large to hold; use <= 1,000,000"),
        ({"model_type": "qwen_2"}, r"scratch\.model_type: 'qwen_2' is no type .* Did you mean 'qwen2'\?"),
        (
            {"model_type": "zzzzzz"},
            r"scratch\.model_type: 'zzzzzz' is no type that transformers knows; name one such as",
        ),
        ({"model_type": "clip"}, r"scratch\.model_type: 'clip' is no causal language model"),
        ({"model_type": 7}, r"scratch\.model_type: is 7, but must be text"),
        ({"model_type": None}, r"scratch\.model_type: is None, but must be text"),
        (
            {"hiden_size": 16},
            r"scratch\.hiden_size: model type 'qwen2' has no such field\. Did you mean 'hidden_size'\?",
        ),
        ({1: 16}, r"scratch\.1: model type 'qwen2' has no such field"),
        ({"hidden_size": "abc"}, r"scratch: .*'hidden_size': 'abc'.* describe no model .* expected int, got str"),
        ({"hidden_size": -1}, r"describe no model of type 'qwen2'.*negative dimension"),
        ({"num_attention_heads": 0}, r"describe no model of type 'qwen2'.*ZeroDivisionError"),
        ({"hidden_act": "zz"}, r"describe no model of type 'qwen2'.*KeyError: 'zz'"),
    ],
)
def test_a_wrong_shape_is_refused_in_one_line(tmp_path: Path, changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        scratch_model(tmp_path / "model", {**SHAPE, **changes}, ["It rains."], seed=0)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert not list(tmp_path.iterdir())


def test_a_frozen_shape_with_lists_in_it_is_a_shape(tmp_path: Path) -> None:
    nested = {"layer_types": ("full_attention",), "rope_parameters": MappingProxyType({"rope_theta": 1e5})}
    folder = scratch_model(tmp_path / "model", MappingProxyType({**SHAPE, **nested}), ["It rains."], seed=0)
    assert (folder / "config.json").is_file()


def test_the_name_of_a_field_that_the_type_calls_otherwise_is_taken(tmp_path: Path) -> None:
    shape = {"model_type": "gpt2", "vocab_size": 400, "n_layer": 1, "n_head": 2, "hidden_size": 16}
    assert scratch_model(tmp_path / "model", shape, ["It rains."], seed=0).is_dir()
