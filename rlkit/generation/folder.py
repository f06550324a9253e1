"""Where a model lies: a run's folder, a model's folder or a name on the hub; and what tells its content from another's.

Knows files; loads nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError, nearest
from rlkit.yaml_files import read_yaml_file

_HUB_NAME = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_CONFIGS = ("config.json", "adapter_config.json")  # of a whole model, of an adapter
_CONTENT = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin")
_NOT_CONTENT = ("trainer_state.json", "training_args.bin", "optimizer.bin", "rlkit.json", "README.md")
_SAMPLES, _SAMPLE_BYTES = 64, 16 * 1024


def find_model(path: str | Path, where: str = "--model") -> tuple[Path, dict[str, Any]]:
    """The model's folder and the saved config of its run (empty for a bare model folder); raises `ConfigError`.

    `path` is the run, or the `model/` in it.
    """
    path = Path(path)
    folder = path / "model" if _holds_model(path / "model") else path
    if not _holds_model(folder):
        close = nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
        trained = " its training has not ended, so there is no model yet" if (path / "config.yaml").is_file() else ""
        raise ConfigError(f"{where} {path}: neither a run with a model nor a model folder;{trained or ' no config.json is there'}.{close}")  # fmt: skip
    inside = folder == path and path.name == "model" and (path.parent / "config.yaml").is_file()
    saved = (path.parent if inside else path) / "config.yaml"
    return folder, (read_yaml_file(saved) or {}) if saved.is_file() else {}


def locate_model(name: str, where: str = "--model") -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` reads for a run, a folder or a hub name, and the saved config of a run.

    A name counts as one of the hub where no folder stands at it or beside it.

    >>> locate_model("Qwen/Qwen2.5-7B-Instruct")
    ('Qwen/Qwen2.5-7B-Instruct', {})
    """
    path = Path(name)
    if not path.exists() and _HUB_NAME.fullmatch(name) and not ("/" in name and path.parent.is_dir()):
        return name, {}
    folder, saved = find_model(path, where)
    return str(folder), saved


def fingerprint(folder: Path) -> str:
    """A short text that changes with the content of a model's folder, wherever the folder lies.

    Of large files, pieces all over them are read: a step of training changes every tensor.
    """
    content = hashlib.blake2b(digest_size=12)
    for path in sorted(folder.iterdir()):
        if path.suffix in _CONTENT and path.name not in _NOT_CONTENT and path.is_file():
            content.update(f"{path.name}:{path.stat().st_size}:".encode())
            for piece in _pieces(path):
                content.update(piece)
    base = _base_model(folder)
    if base is not None and Path(base).is_dir():
        content.update(fingerprint(Path(base)).encode())
    return content.hexdigest()


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CONFIGS)


def _pieces(path: Path) -> list[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            return [file.read()]
        pieces = []
        for number in range(_SAMPLES):
            file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            pieces.append(file.read(_SAMPLE_BYTES))
        return pieces


def _base_model(folder: Path) -> str | None:
    """The model that an adapter changes."""
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        return None
    try:
        return json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        return None  # `from_pretrained` says what is wrong with it
