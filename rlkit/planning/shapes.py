"""The shape of a model: its sizes and parameter counts, from a `config.json` and without its weights.

Knows the files on this machine and the table `shapes.json`; opens no connection. Families whose layout is known are
counted in closed form, any other by building it on torch's meta device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlkit.config import Config
from rlkit.errors import ConfigError, nearest
from rlkit.plain import plain

TABLE = Path(__file__).with_name("shapes.json")
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
SCRATCH_VOCAB_TOKENS = 4096  # what a `scratch:` model has where it does not say


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder and its parameter counts; a tied output layer counts once.

    `matrices` maps the name of each kind of linear layer to (how many, inputs, outputs), without the output layer;
    `largest` is the largest module's own parameter count, which ZeRO-3 gathers at once. `on_meta` says that the counts
    come from the model built on the meta device, because its family is not known in closed form.
    """

    name: str
    model_type: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int | None
    tied: bool
    parameters: int
    largest: int
    matrices: Mapping[str, tuple[int, int, int]]
    on_meta: bool = False

    @property
    def query_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim


def shape_of(config: Config, given: str | None = None, build: bool = True) -> Shape:
    """The shape of the model that a config starts from, or of the one that `given` names (a table entry, folder or file).

    Raises `ConfigError` where neither this machine nor the table knows it, with the ways out, and with `build` false
    for a family that is not counted in closed form.
    """
    if given is not None:
        return _named(given, f"--shape: {given!r}", build)
    if config.scratch is not None:
        values = {"vocab_size": SCRATCH_VOCAB_TOKENS, **plain(config.scratch)}
        return read_shape(values, "scratch", "scratch", build)
    name = str(config.model["model_name_or_path"])
    return _named(name, f"model.model_name_or_path: {name!r}", build)


def read_shape(values: Mapping[str, Any], name: str, where: str, build: bool = True) -> Shape:
    """The shape in the fields of a `config.json`; raises `ConfigError` for fields that describe no decoder.

    >>> read_shape({"model_type": "llama", "vocab_size": 100, "hidden_size": 8, "intermediate_size": 16,
    ...             "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}, "tiny", "tiny").parameters
    2920
    """
    kind = values.get("model_type", "qwen2")
    # A field that a config.json leaves out has the family's default, which transformers knows.
    if kind not in FAMILIES or any(values.get(name) is None for name in SIZES):
        if not build:
            raise ConfigError(
                f"{where}: model type {kind!r} is counted by building it; known without: {', '.join(FAMILIES)}."
            )
        return _on_meta(kind, values, name, where)
    get = values.get
    try:
        hidden, inner, layers, heads, kv_heads, vocab = (int(values[name]) for name in SIZES)
        head_dim = int(get("head_dim") or (128 if kind == "qwen3" else hidden // heads))
        if min(hidden, inner, layers, heads, kv_heads, vocab, head_dim) < 1:
            raise ValueError("below 1")
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"{where}: gives sizes of which one is no number above 0 ({error}), so its parameters cannot be counted; compare "
            "it with a published config.json of that type."
        ) from error
    query, kv = heads * head_dim, kv_heads * head_dim
    sides = {
        "q_proj": (hidden, query), "k_proj": (hidden, kv), "v_proj": (hidden, kv), "o_proj": (query, hidden),
        "gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden),
    }  # fmt: skip
    biased = {"qwen2": ("q_proj", "k_proj", "v_proj"), "mistral": ()}.get(kind)
    if biased is None:
        biased = (("q_proj", "k_proj", "v_proj", "o_proj") if get("attention_bias") else ()) + (
            ("gate_proj", "up_proj", "down_proj") if get("mlp_bias") and kind == "llama" else ()
        )
    sizes = [inputs * outputs + outputs * (name in biased) for name, (inputs, outputs) in sides.items()]
    layer = sum(sizes) + 2 * hidden + (2 * head_dim if kind == "qwen3" else 0)
    tied = bool(get("tie_word_embeddings", False))
    return Shape(
        name=name,
        model_type=kind,
        hidden=hidden,
        intermediate=inner,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=vocab,
        positions=get("max_position_embeddings"),
        tied=tied,
        parameters=vocab * hidden * (1 if tied else 2) + hidden + layers * layer,
        largest=max(vocab * hidden, *sizes),
        matrices={name: (layers, *pair) for name, pair in sides.items()},
    )


@cache
def known_shapes() -> dict[str, dict[str, Any]]:
    """The published models of `shapes.json`: hub name -> fields of its config.json, with `source` and `parameters`."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def _named(name: str, where: str, build: bool) -> Shape:
    path = Path(name)
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(
                f"{where}: {file} is no JSON ({error}), so it gives no shape; name a config.json."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: {file} holds {type(values).__name__}, but must be a model's config.json.")
        return read_shape(values, name, where, build)
    if name in known_shapes():
        return read_shape(known_shapes()[name], name, where, build)
    cached = _cached(name)
    if cached is not None:
        return read_shape(json.loads(cached.read_text(encoding="utf-8")), name, where, build)
    hint = nearest(name, known_shapes()) or nearest(_model_name(name), map(_model_name, known_shapes()))
    raise ConfigError(
        f"{where}: is no folder with a config.json on this machine, not in its hub cache and not in the table of shapes, so "
        f"its parameters cannot be counted (nothing is downloaded); give --shape with a model of the same shape, a folder or a "
        f"config.json.{hint} In the table: {', '.join(known_shapes())}."
    )


def _model_name(name: str) -> str:
    """Without the account on the hub, which is easily left out."""
    return name.rpartition("/")[2]


def _cached(name: str) -> Path | None:
    """The config.json that an earlier download left on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path of several folders is no hub name
        return None
    return Path(found) if isinstance(found, str) else None


def _on_meta(kind: str, values: Mapping[str, Any], name: str, where: str) -> Shape:
    """Build the model on the meta device, where parameters have sizes and no memory, and count."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.for_model(kind, **{key: value for key, value in values.items() if key != "model_type"})
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    # Fields are checked by whatever code first uses them, so a wrong one can fail as anything.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{where}: describes no language model of type {kind!r} that transformers can build ({reason:.200}); compare it "
            "with a published config.json of that type."
        ) from error
    text = config.get_text_config()
    head = model.get_output_embeddings()
    matrices: dict[str, tuple[int, int, int]] = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            last = path.rpartition(".")[2]
            sides = (module.in_features, module.out_features)
            key = last if matrices.get(last, (0, *sides))[1:] == sides else path
            matrices[key] = (matrices.get(key, (0,))[0] + 1, *sides)
    return Shape(
        name=name,
        model_type=kind,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocab=text.vocab_size,
        positions=getattr(text, "max_position_embeddings", None),
        tied=head is not None and head.weight is model.get_input_embeddings().weight,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        largest=max(sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()),
        matrices=matrices,
        on_meta=True,
    )
