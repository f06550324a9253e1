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
_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict, "None": type(None)}
UNKNOWN = object()  # the default is not a literal in the source


@functools.cache
def declared_types(kind: str) -> dict[str, tuple[type, ...]]:
    """Name -> the types that a field's declaration allows; a field whose declaration names others is left out.

    >>> declared_types("grpo")["learning_rate"], declared_types("grpo")["max_steps"]
    ((<class 'float'>,), (<class 'int'>,))
    """
    found: dict[str, tuple[type, ...]] = {}
    for package, file, name in _SOURCES[kind]:
        for node in _declarations(_package_folder(package) / file, name):
            allowed = {part.id if isinstance(part, ast.Name) else None for part in _alternatives(node.annotation)}
            found.pop(node.target.id, None)  # type: ignore[union-attr]
            if allowed <= _TYPES.keys():
                types = tuple(kind for name, kind in _TYPES.items() if name in allowed)
                found[node.target.id] = types  # type: ignore[union-attr]
    return found


def _alternatives(node: ast.expr) -> list[ast.expr]:
    """The parts of `int | None`, also where it is written as text, or of a plain name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    if isinstance(node, ast.Constant) and node.value is None:
        return [ast.Name("None")]
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in ("list", "dict"):
        return [node.value]
    return [node]


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
    return {node.target.id: _default(node.value) for node in _declarations(path, name)}  # type: ignore[union-attr]


@functools.cache
def _declarations(path: Path, name: str) -> list[ast.AnnAssign]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if body is None:
        raise ConfigError(f"{path}: class {name} is not there; this version is not supported, see pyproject.toml.")
    return [
        node
        for node in body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not ast.unparse(node.annotation).startswith(("ClassVar", "typing.ClassVar"))
    ]


def _default(value: ast.expr | None) -> Any:
    if isinstance(value, ast.Call):  # dataclasses.field(default=..., metadata=...)
        value = next((item.value for item in value.keywords if item.arg == "default"), None)
    if value is None:
        return UNKNOWN
    try:
        return ast.literal_eval(value)
    except ValueError:
        return UNKNOWN
