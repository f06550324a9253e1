"""The DeepSpeed settings that `train.deepspeed` names: what would be ignored, refused or contradicted after minutes is found here.

DeepSpeed skips a misspelt section without a word, and says of a wrong size only after every process has loaded the model.
Reads the installed DeepSpeed's source text for the names that it knows; imports nothing of it.
"""

from __future__ import annotations

import ast
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlkit.config import Config
from rlkit.errors import ConfigError, nearest
from rlkit.plain import plain

_NAME = re.compile(r"[a-z][a-z0-9_]+")
# Sections whose unknown keys DeepSpeed refuses: path in the file -> where DeepSpeed declares them
_SECTIONS = {
    "zero_optimization": ("runtime/zero/config.py", "DeepSpeedZeroConfig"),
    "zero_optimization.offload_optimizer": ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadOptimizerConfig"),
    "zero_optimization.offload_param": ("runtime/zero/offload_config.py", "DeepSpeedZeroOffloadParamConfig"),
}
# Settings that stand in both places: path in the file -> field of `train:`. transformers' HfTrainerDeepSpeedConfig
# compares the same ones, when the trainer is made.
_TWICE = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer.params.lr": "learning_rate",
    "optimizer.params.eps": "adam_epsilon",
    "optimizer.params.weight_decay": "weight_decay",
    "scheduler.params.warmup_max_lr": "learning_rate",
}
_AUTO = 'write "auto" in its place, which takes it from train:'


def check_deepspeed(config: Config, world_size: int) -> None:
    """Raise `ConfigError` for DeepSpeed settings that cannot mean what they say in a run on `world_size` processes."""
    given = config.train.get("deepspeed")
    if given is None or (isinstance(given, str) and not Path(given).is_file()):
        return  # none, or none here: said elsewhere
    where, values = ("train.deepspeed", plain(given)) if isinstance(given, Mapping) else (given, _read(Path(given)))
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where}: holds {type(values).__name__}, but DeepSpeed's settings are a mapping of keys to values."
        )
    _check_names(values, where)
    _check_stage(values, config, where)
    _check_sizes(values, config, world_size, where)


def _read(path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise ConfigError(
                    f"{path}: the key {key!r} stands twice, so one of its values would be lost; remove one."
                )
            seen[key] = value
        return seen

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not readable as JSON: {error.msg}.") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"train.deepspeed: {path} cannot be read as a JSON file: {error}.") from error


def _check_names(values: Mapping[str, Any], where: str) -> None:
    known = _every_name()
    for key in values:
        if key not in known and not key.startswith(("_", "comment")):
            raise ConfigError(
                f"{where}: {key}: DeepSpeed reads no such key and would go on without it.{nearest(key, known)} A comment's "
                "key begins with _."
            )
    for section, (file, name) in _SECTIONS.items():
        inside = _at(values, section)
        if isinstance(inside, Mapping):
            declared = _declared(file, name)
            for key in inside:
                if key not in declared:
                    raise ConfigError(
                        f"{where}: {section}.{key}: DeepSpeed has no such key and would refuse it once the model is "
                        f"loaded.{nearest(key, declared)}"
                    )


def _check_stage(values: Mapping[str, Any], config: Config, where: str) -> None:
    zero = values.get("zero_optimization", {})
    if not isinstance(zero, Mapping):
        raise ConfigError(f'{where}: zero_optimization: is {zero!r:.40}, but must be a mapping, e.g. {{"stage": 2}}.')
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        raise ConfigError(f"{where}: zero_optimization.stage: is {stage!r:.40}, but must be 0, 1, 2 or 3.")
    offload = zero.get("offload_param")
    if isinstance(offload, Mapping) and offload.get("device", "none") != "none" and stage != 3:
        raise ConfigError(
            f"{where}: zero_optimization.offload_param: weights leave the GPU under stage 3 only, and under stage {stage} "
            "DeepSpeed goes on without it; set stage 3, or take it out."
        )
    if stage != 3:
        return
    gathers = tuple(
        f"{old}gather_{kind}_weights_on_model_save" for old in ("stage3_", "") for kind in ("16bit", "fp16")
    )
    if not any(zero.get(name) is True for name in gathers) and not config.model.get("use_peft"):
        raise ConfigError(
            f"{where}: zero_optimization.{gathers[0]}: is not true, so under stage 3 no process has whole weights to save and "
            "model/ would hold none; set it to true."
        )
    if config.method == "grpo" and config.setting("use_vllm") and not config.setting("ds3_gather_for_generation"):
        raise ConfigError(
            "train.ds3_gather_for_generation: is false, but vLLM takes whole weights, which under stage 3 no process has; "
            "take it out, or set train.use_vllm: false."
        )


def _check_sizes(values: Mapping[str, Any], config: Config, world_size: int, where: str) -> None:
    get = config.setting
    for path, field in _TWICE.items():
        _same(_at(values, path), get(field), path, f"train.{field} is {get(field)!r}", where)
    micro, accumulation = get("per_device_train_batch_size"), get("gradient_accumulation_steps")
    product = (
        f"{micro} (train.per_device_train_batch_size) x {accumulation} (train.gradient_accumulation_steps) x {world_size} "
        f"processes make {micro * accumulation * world_size}"
    )
    _same(values.get("train_batch_size"), micro * accumulation * world_size, "train_batch_size", product, where)
    for path, field in (("bf16.enabled", "bf16"), ("fp16.enabled", "fp16")):
        if field in config.train:  # else it depends on the machine
            _same(_at(values, path), get(field), path, f"train.{field} is {get(field)!r}", where)
    betas = _at(values, "optimizer.params.betas")
    if betas not in (None, "auto") and betas != [get("adam_beta1"), get("adam_beta2")]:
        raise ConfigError(
            f"{where}: optimizer.params.betas: is {betas!r:.60}, but train.adam_beta1 and train.adam_beta2 are "
            f"{get('adam_beta1')!r} and {get('adam_beta2')!r}; {_AUTO}."
        )


def _same(value: Any, other: Any, path: str, said: str, where: str) -> None:
    if value is None or value == "auto" or value == other:
        return
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value, other))
    if not (numbers and math.isclose(value, other)):
        raise ConfigError(f"{where}: {path}: is {value!r:.60}, but {said}; {_AUTO}.")


def _at(values: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return values


@functools.cache
def _every_name() -> frozenset[str]:
    """Every word in the files in which DeepSpeed declares its settings; empty would mean that nothing is known."""
    files = [*_folder().glob("**/constants.py"), *_folder().glob("**/*config.py")]
    return frozenset(name for file in files for name in _words(file))


def _words(file: Path) -> Iterator[str]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@functools.cache
def _declared(file: str, name: str) -> frozenset[str]:
    """The fields of a settings class and their other names."""
    found = set()
    for node in ast.walk(_tree(_folder() / file)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    found.add(item.target.id)
                    found |= {
                        str(ast.literal_eval(word.value))
                        for word in getattr(item.value, "keywords", [])
                        if word.arg == "alias"
                    }
    return frozenset(found)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _folder() -> Path:
    spec = find_spec("deepspeed")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "train.deepspeed: deepspeed is not installed; pip install deepspeed, or take the setting out."
        )
    return Path(next(iter(spec.submodule_search_locations)))
