"""The config of `rlkit distill`: which records, which two models, which filters, where to.

Knows every key and its rule; opens no data and asks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlkit.distill.prompts import INJECTOR, REASONER
from rlkit.errors import ConfigError, nearest
from rlkit.generation.model import Model
from rlkit.generation.open import open_model
from rlkit.yaml_files import override, read_yaml_file

TOLERATE = 16  # requests in a row that may fail before the run ends, where the section does not say


@dataclass(frozen=True)
class Stage:
    """One of the two models as the config describes it.

    `model` has the fields of `Endpoint`, or those of a model on this machine (`open_model`). `instructions` is the system
    message. `price` is what a million prompt and completion tokens cost, in any currency; 0 where nothing is paid.
    """

    model: Mapping[str, Any]
    instructions: str
    price: Mapping[str, float] = field(default_factory=lambda: {"prompt": 0.0, "completion": 0.0})

    def open(self, where: str) -> Model:
        """The model; raises `ConfigError` with the config path."""
        section = dict(self.model)
        if "base_url" in section:
            section.setdefault("tolerate", TOLERATE)
        return open_model(section, where)


@dataclass(frozen=True)
class Settings:
    """Everything that decides which rows come out.

    `min_answer_f1`: the token F1, as the `care` reward's accuracy part measures it, that the reasoner's answer must reach
    against a gold; 1 = the same words after SQuAD normalisation. `min_similarity`: how alike a fact in the rewritten
    reasoning must be to the labelled one to be replaced by it; 1 = word for word. `system`: the system message of the
    SFT rows, `"default"` for the CARE instructions, `None` for none. `preview_rows` rows are shown in preview.md.
    """

    sources: Mapping[str, Mapping[str, Any]]
    reasoner: Stage
    injector: Stage
    output_dir: str
    min_answer_f1: float = 1.0
    min_similarity: float = 0.85
    system: str | None = "default"
    preview_rows: int = 30

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are saved beside the rows; `parse_settings` reads them."""
        plain = asdict(self)
        for name in ("reasoner", "injector"):
            stage = plain[name]
            plain[name] = {**stage.pop("model"), **stage}
        return plain


def load_settings(path: str | Path, overrides: Iterable[str] = ()) -> Settings:
    """The settings in a YAML file, with `a.b=value` overrides; raises `ConfigError` with file and key."""
    path = Path(path)
    if not path.exists():
        close = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError(f"{path}: there is no such config file.{close} Shipped configs stand in configs/distill.")
    values = read_yaml_file(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {type(values).__name__}, but a config is a mapping of keys to values.")
    for text in overrides:
        override(values, text)
    return parse_settings(values, where=str(path), default_name=path.stem)


def parse_settings(values: Mapping[str, Any], *, where: str = "config", default_name: str = "run") -> Settings:
    """Checked settings from plain values.

    >>> parse_settings({"sources": {"s": {"format": "records", "path": "x"}}, "reasoner": {"base_ulr": "http://h/v1"}})
    Traceback (most recent call last):
    rlkit.errors.ConfigError: config: reasoner: has neither of base_url (an endpoint) and model_name_or_path (a model on \
this machine); give one. Did you mean 'base_url'?
    """
    known = [f.name for f in fields(Settings)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: {key}: no such key.{nearest(str(key), known)} Known keys: {', '.join(known)}.")
    sources = _mapping(values.get("sources"), f"{where}: sources")
    if not sources:
        raise ConfigError(
            f"{where}: sources: none given; name at least one: `hotpotqa: {{format: hotpotqa, path: FILE}}`."
        )
    for name, source in sources.items():
        if not isinstance(source, Mapping) or not isinstance(source.get("format"), str):
            raise ConfigError(f"{where}: sources.{name}: is {source!r:.80}, but needs a format and a path.")
    settings = Settings(
        sources={str(name): dict(source) for name, source in sources.items()},
        reasoner=_stage(values.get("reasoner"), REASONER, f"{where}: reasoner"),
        injector=_stage(values.get("injector"), INJECTOR, f"{where}: injector"),
        output_dir=str(values.get("output_dir") or f"runs/distill/{default_name}"),
        **{name: values[name] for name in known[4:] if name in values},
    )
    for name in ("min_answer_f1", "min_similarity"):
        _share(getattr(settings, name), f"{where}: {name}")
    if not isinstance(settings.system, str | None):
        raise ConfigError(f"{where}: system: is {settings.system!r:.60}, but must be text, `default` or null.")
    rows = settings.preview_rows
    if isinstance(rows, bool) or not isinstance(rows, int) or not 0 <= rows <= 1000:
        raise ConfigError(f"{where}: preview_rows: is {rows!r}, but must be a whole number from 0 to 1000.")
    return settings


def _stage(section: Any, instructions: str, where: str) -> Stage:
    values = _mapping(section, where)
    price = _mapping(values.pop("price", None), f"{where}.price")
    for key, value in price.items():
        if key not in ("prompt", "completion"):
            near = nearest(str(key), ("prompt", "completion"))
            raise ConfigError(f"{where}.price.{key}: no such key; there are prompt and completion.{near}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(
                f"{where}.price.{key}: is {value!r}, but must be the price of a million tokens, 0 or more."
            )
    text = values.pop("instructions", None)
    if text is not None and (not isinstance(text, str) or not text.strip()):
        raise ConfigError(f"{where}.instructions: is {text!r:.60}, but must be the text of the system message.")
    stage = Stage(values, text or instructions, {"prompt": 0.0, "completion": 0.0, **price})
    stage.open(where)  # its keys are checked where they are declared
    return stage


def _mapping(section: Any, where: str) -> dict[str, Any]:
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: is {section!r:.80}, but must be a mapping of keys to values.")
    return dict(section)


def _share(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"{where}: is {value!r}, but must be a share above 0 and at most 1.")
