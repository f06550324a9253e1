"""`open_model`: from a config's section to the model that it describes.

Knows which keys name which kind of model; loads nothing and asks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from rlkit.errors import ConfigError, nearest
from rlkit.generation.endpoint import Endpoint
from rlkit.generation.local import Local
from rlkit.generation.vllm import VLLM

AnyModel = Endpoint | Local | VLLM


def open_model(section: Mapping[str, Any], where: str = "model") -> AnyModel:
    """The model of a section: with `base_url` an endpoint, with `model_name_or_path` one on this machine.

    `use_vllm: true` puts vLLM in the place of transformers. All other keys are the fields of `Endpoint`, `Local` or
    `VLLM`. Raises `ConfigError` with the path of a wrong key or value.

    >>> open_model({"model_name_or_path": "runs/care", "batch_size": 4}).batch_size
    4
    >>> open_model({"base_url": "http://127.0.0.1:8000/v1", "modle": "m"}, "models.writer")
    Traceback (most recent call last):
    rlkit.errors.ConfigError: models.writer.modle: Endpoint has no such field. Did you mean 'model'?
    """
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: is {section!r:.80}, but must be a mapping with base_url or model_name_or_path.")
    if ("base_url" in section) == ("model_name_or_path" in section):
        found = "both" if "base_url" in section else "neither"
        hint = "" if found == "both" else next(
            (near for key in section if (near := nearest(str(key), ("base_url", "model_name_or_path")))), ""
        )  # fmt: skip
        raise ConfigError(
            f"{where}: has {found} of base_url (an endpoint) and model_name_or_path (a model on this machine); give one.{hint}"
        )
    values = dict(section)
    kind: type[AnyModel] = Endpoint
    if "model_name_or_path" in values:
        vllm = values.pop("use_vllm", False)
        if not isinstance(vllm, bool):
            raise ConfigError(f"{where}.use_vllm: is {vllm!r}, but must be true or false.")
        kind = VLLM if vllm else Local
    known = [f.name for f in fields(kind)]
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}.{key}: {kind.__name__} has no such field.{nearest(str(key), known)}")
        if key in ("sampling", "engine", "chat_template_kwargs") and not isinstance(value, Mapping):
            raise ConfigError(f"{where}.{key}: is {value!r:.80}, but must be a mapping of keys to values.")
    if kind is Endpoint and "model" not in values:
        raise ConfigError(f"{where}.model: is missing, but the server must know which one to ask; see its /v1/models.")
    try:
        return kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{where}: a value has the wrong type ({error}).") from error


def with_defaults(model: AnyModel, max_new_tokens: int) -> AnyModel:
    """The model with this length of answers and greedy, wherever its own settings do not say otherwise.

    >>> with_defaults(Endpoint("http://127.0.0.1:1/v1", "m", sampling={"temperature": 1}), 32).sampling
    {'max_tokens': 32, 'temperature': 1}
    """
    sampling = dict(model.sampling)
    name = "max_new_tokens" if isinstance(model, Local) else "max_tokens"  # each backend's own word
    if not {name, "max_completion_tokens"} & set(sampling):
        sampling = {name: max_new_tokens, **sampling}
    if isinstance(model, Endpoint):
        sampling = {"temperature": 0, **sampling}
    return replace(model, sampling=dict(sorted(sampling.items())))
