"""YAML files as plain values: read safely, with file and line in every complaint, and changed by `a.b=value`.

Knows YAML; gives no meaning to any key.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from rlkit.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-6 as a number, refuses a key that stands twice and names the line of a bad value."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # what looks like a date or a number, but is none: 2024-13-45
            problem = f"{node.value!r:.60} is no value ({error}); put it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


# YAML 1.1, which PyYAML follows, takes 1e-6 for text because it has no dot.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue  # `<<: *name`; what stands beside it overrides what it brings
        key = loader.construct_object(key_node)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, f"a key is {type(key).__name__}, but must be text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice, so one of its values would be lost; remove one",
                key_node.start_mark,
            )  # fmt: skip
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, read safely; raises `ConfigError` with file and line.

    >>> read_yaml("learning_rate: 1e-6", "x.yaml")
    {'learning_rate': 1e-06}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: not readable as YAML: {error.problem}.") from error
    except yaml.reader.ReaderError as error:
        line = f":{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(
            f"{where}{line}: not readable as YAML: it holds the control character {text[error.position]!r}; take it out."
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"{where}: not readable as YAML: nested too deeply; no setting needs more than a few levels."
        ) from error


def read_yaml_file(path: Path) -> Any:
    """The value of a YAML file, read as `read_yaml` does; raises `ConfigError` for what is no UTF-8 text file."""
    try:
        text = path.read_bytes().decode("utf-8")
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a directory, but must be a YAML file; name a file in it.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8.") from error
    return read_yaml(text, str(path))


def override(values: dict[str, Any], change: str) -> None:
    """Set one value of nested mappings as `a.b=value` says; the value is read as YAML. Raises `ConfigError`.

    >>> values = {"train": {"seed": 1}}
    >>> override(values, "train.seed=2")
    >>> values
    {'train': {'seed': 2}}
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {change!r}: must be key=value with a dotted key, e.g. train.max_steps=20.")
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"override {change!r}: {parent} is {place!r}, which has no keys below it.")
    place[last] = read_yaml(text, f"override {key}")
