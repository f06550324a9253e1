"""The field names and defaults of TRL's configs, read from their source text.

A config is checked before anything heavy is imported: importing TRL takes seconds, reading three source files a
fraction of one. This module knows how to read declarations; it gives no meaning to any field.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError

# class -> (package, file inside it); later ones override earlier ones, as the classes inherit
_SOURCES = {
    "grpo": [
        ("transformers", "training_args.py", "TrainingArguments"),
        ("trl", "trainer/base_config.py", "_BaseConfig"),
        ("trl", "trainer/grpo_config.py", "GRPOConfig"),
    ],
    "sft": [
        ("transformers", "training_args.py", "TrainingArguments"),
        ("trl", "trainer/base_config.py", "_BaseConfig"),
        ("trl", "trainer/sft_config.py", "SFTConfig"),
    ],
    "model": [("trl", "trainer/model_config.py", "ModelConfig")],
}
UNKNOWN = object()  # the default is not a literal in the source


@functools.cache
def declared_fields(kind: str) -> dict[str, Any]:
    """Name -> default of every field of TRL's config for `grpo`, `sft` or `model`; `UNKNOWN` where it is computed.

    >>> declared_fields("grpo")["num_generations"]
    8
    """
    found: dict[str, Any] = {}
    for package, file, name in _SOURCES[kind]:
        found.update(_class_fields(_package_folder(package) / file, name))
    return found


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{package} is not installed, so its config fields cannot be checked; pip install {package}.")
    return Path(next(iter(spec.submodule_search_locations)))


def _class_fields(path: Path, name: str) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if body is None:
        raise ConfigError(f"{path}: class {name} is not there; this version is not supported, see pyproject.toml.")
    fields = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = ast.unparse(node.annotation)
            if not text.startswith(("ClassVar", "typing.ClassVar")):
                fields[node.target.id] = _default(node.value)
    return fields


def _default(value: ast.expr | None) -> Any:
    if isinstance(value, ast.Call):  # dataclasses.field(default=..., metadata=...)
        value = next((item.value for item in value.keywords if item.arg == "default"), None)
    if value is None:
        return UNKNOWN
    try:
        return ast.literal_eval(value)
    except ValueError:
        return UNKNOWN
