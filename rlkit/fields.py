"""The field names and defaults of TRL's configs, read from their source text.

A config is checked before anything heavy is imported: importing TRL takes seconds, reading three source files a
fraction of one. This module knows how to read declarations; it gives no meaning to any field.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
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
# kind -> the file whose comparisons say which words a field of theirs may be
_COMPARED_IN = {"grpo": ("trl", "trainer/grpo_trainer.py")}
_ENUMS_IN = (("transformers", "trainer_utils.py"), ("transformers", "training_args.py"))
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


@functools.cache
def declared_words(kind: str, field: str) -> tuple[str, ...]:
    """The words that a field may be: those of the enumeration that it is declared as, else those with which TRL's trainer
    compares it. Empty where neither is found, or the default is none of them: then any text may do.

    >>> "cosine" in declared_words("grpo", "lr_scheduler_type"), declared_words("grpo", "multi_objective_aggregation")
    (True, ('normalize_then_sum', 'sum_then_normalize'))
    """
    found: set[str] = set()
    for package, file, name in _SOURCES[kind]:
        for node in _declarations(_package_folder(package) / file, name):
            if node.target.id == field:  # type: ignore[union-attr]
                parts = _alternatives(node.annotation)
                enums = [part.id for part in parts if isinstance(part, ast.Name) and part.id not in _TYPES]
                found = {word for enum in enums for word in _enumerated(enum)}
    if not found and kind in _COMPARED_IN:
        package, file = _COMPARED_IN[kind]
        text = (_package_folder(package) / file).read_text(encoding="utf-8")
        told = re.findall(rf"self\.{field} (?:==|in) (\[[^\]]*\]|\"[^\"]*\")", text)
        found = {word for one in told for word in re.findall(r'"([^"]*)"', one)}
    default = declared_fields(kind)[field]
    return tuple(sorted(found)) if default is UNKNOWN or default in found else ()


def _enumerated(name: str) -> list[str]:
    for package, file in _ENUMS_IN:
        tree = ast.parse((_package_folder(package) / file).read_text(encoding="utf-8"))
        body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), [])
        values = [node.value for node in body if isinstance(node, ast.Assign)]
        if values:
            return [one.value for one in values if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return []


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
