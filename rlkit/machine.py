"""What a run needs of this machine: files that its config names, packages that it asks for, a model to start from.

Looks, but opens no data and loads no model.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rlkit.config import Config
from rlkit.errors import nearest


def lacking(config: Config, start_comes: bool = False) -> list[str]:
    """What this machine lacks for the run, one sentence each: files that `train:` names, packages that it asks for, and the
    model that it starts from unless that comes later."""
    lacks = [] if start_comes else _start_problems(config.model.get("model_name_or_path"))
    path = config.train.get("deepspeed")
    if isinstance(path, str) and not Path(path).is_file():
        near = nearest(Path(path).name, [p.name for p in Path(path).parent.glob("*.json")])
        lacks.append(f"train.deepspeed: there is no file {path!r} (from {Path.cwd()}).{near}")
    if config.train.get("use_vllm") and not _installed("vllm"):  # with a server as well: TRL's client is made of it
        lacks.append(
            "train.use_vllm: vllm is not installed; pip install vllm, or set use_vllm: false to generate slowly."
        )
    if config.train.get("use_liger_kernel") and not _installed("liger_kernel"):
        lacks.append("train.use_liger_kernel: liger-kernel is not installed; pip install liger-kernel, or take it out.")
    return lacks


def _start_problems(name: str | None) -> list[str]:
    """Names that cannot be a start: a folder that is not there, that of a run, an adapter."""
    if name is None or (Path(name) / "config.json").is_file():
        return []
    where = f"model.model_name_or_path: {name!r}"
    if not Path(name).is_dir():
        if name.count("/") < 2 and not name.startswith((".", "/", "~")):
            return []  # the hub may know it
        return [
            f"{where} is no folder (from {Path.cwd()}), and a hub name is NAME or OWNER/NAME; make it first, where another "
            "run does, or name a model that is there."
        ]
    if (Path(name) / "model" / "config.json").is_file():
        return [f"{where} is a run's folder; its model is in {str(Path(name) / 'model')!r}."]
    if (Path(name) / "adapter_config.json").is_file():
        return [
            f"{where} is an adapter without its model; start from the model/ folder of the run that made it, or merge it."
        ]
    return []


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
