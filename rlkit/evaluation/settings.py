"""What an evaluation is asked to do: its YAML file, and what the command line changes of it.

Knows keys; loads neither data nor model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rlkit.config import METHODS
from rlkit.errors import ConfigError, nearest
from rlkit.evaluation.suite import Suite, load_suite, suite_names
from rlkit.generation.endpoint import Endpoint
from rlkit.generation.folder import locate_model
from rlkit.generation.open import AnyModel, open_model
from rlkit.yaml_files import override, read_yaml_file


@dataclass(frozen=True)
class Settings:
    """The keys of an evaluation's YAML file.

    `model` is a section as `open_model` reads it, with or without the model's name. `suites` maps a suite's name to what
    is changed of it. `data_seed` draws the rows of made-up sources anew, in every suite. `tokenizer` names what counts
    tokens where the model is an endpoint. `output_dir` is the folder of the results.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    suites: Mapping[str, Any] = field(default_factory=dict)
    data_seed: int | None = None
    tokenizer: str | None = None
    output_dir: str | None = None


def load_settings(path: Path | None, changes: Sequence[str]) -> Settings:
    """The settings of a YAML file with `a.b=value` changes; raises `ConfigError` for an unknown key."""
    where = "evaluation" if path is None else str(path)
    values: Any = {}
    if path is not None:
        if not path.exists():
            close = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
            raise ConfigError(
                f"{path}: there is no such config file.{close} Shipped configs stand in configs/evaluate/."
            )
        values = read_yaml_file(path)
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: holds {type(values).__name__}, but must be a mapping with model and suites.")
        if values.get("method") in METHODS:
            raise ConfigError(
                f"{path}: is a training config. An evaluation needs none: `rlkit evaluate --model RUN --suite NAME`; a config "
                "of its own names data and model settings, as configs/evaluate/local.yaml does."
            )
    for change in changes:
        override(values, change)
    known = [f.name for f in fields(Settings)]
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: {key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}")
        if value is None:
            continue
        if key == "data_seed":
            fits, rule = type(value) is int and value >= 0, "a whole number of at least 0"
        elif key in ("tokenizer", "output_dir"):
            fits, rule = isinstance(value, str), "text"
        else:
            fits, rule = isinstance(value, Mapping), "a mapping"
        if not fits:
            raise ConfigError(f"{where}: {key}: is {value!r:.80}, but must be {rule}.")
    return Settings(**{key: value for key, value in values.items() if value is not None})


def chosen_suites(settings: Settings, names: Sequence[str], where: str = "suites") -> list[Suite]:
    """The suites of the command line, else those of the config, with the config's changes and its `data_seed`."""
    for name in settings.suites:
        if name not in suite_names() and not name.endswith((".yaml", ".yml")):
            load_suite(name, where=f"{where}.{name}")  # says what there is
    wanted = list(names) or list(settings.suites)
    if not wanted:
        raise ConfigError(
            f"--suite: none given; name one or more of {', '.join(suite_names())}, or a YAML file of yours."
        )
    suites = [
        load_suite(name, settings.suites.get(name), f"{where}.{name}" if name in settings.suites else "--suite")
        for name in wanted
    ]
    if settings.data_seed is None:
        return suites
    if not any(suite.made_up for suite in suites):
        raise ConfigError(
            f"data_seed: is {settings.data_seed}, but {', '.join(wanted)} has no made-up rows to draw anew; leave it out."
        )
    return [suite.drawn(settings.data_seed) for suite in suites]


def chosen_model(settings: Settings, named: str | None) -> tuple[AnyModel, str, dict[str, Any]]:
    """The model, what it is called in tables, and the saved config of its run (empty for any other model).

    `named` is `--model`: a run, a folder, a hub name, or an endpoint as `http://host:port/v1#MODEL`. It takes the place
    of the model that the config names; the config's other settings stay if they are of the same kind.
    """
    section = dict(settings.model)
    if named is not None:
        given = _section(named)
        if ("base_url" in given) == ("base_url" in section) or not {"base_url", "model_name_or_path"} & set(section):
            section = {**section, **given}
        else:
            section = given
    elif not section:
        raise ConfigError(
            "--model: none given; name a run, a model's folder, a model on the hub, or an endpoint as "
            "http://host:port/v1#MODEL. --predictions FILE scores completions that exist already."
        )
    model = open_model(section, "model")
    if isinstance(model, Endpoint):
        return model, model.model, {}
    place, saved = locate_model(model.model_name_or_path, "--model" if named else "model.model_name_or_path")
    path = Path(model.model_name_or_path)
    return model, path.resolve().name if path.is_dir() else place, saved


def as_trained(suite: Suite, saved: Mapping[str, Any]) -> Suite:
    """The suite with the system message that a run was trained with, where the suite leaves that to the task."""
    prompt = saved.get("prompt")
    if not isinstance(prompt, Mapping) or suite.prompt.system != "default" or saved.get("task", "care") != suite.task:
        return suite
    return replace(suite, prompt=replace(suite.prompt, system=prompt.get("system", "default")))


def default_folder(named: str, label: str) -> Path:
    """Where results go when nobody says: into the run, else `runs/evaluate-MODEL`."""
    if (Path(named) / "config.yaml").is_file():
        return Path(named) / "evaluation"
    return Path("runs") / f"evaluate-{re.sub(r'[^A-Za-z0-9._-]+', '-', label).strip('-.') or 'model'}"


def _section(named: str) -> dict[str, Any]:
    if not named.startswith(("http://", "https://")):
        return {"model_name_or_path": named}
    address, mark, model = named.partition("#")
    if not mark or not model:
        raise ConfigError(
            f"--model {named}: names a server but not which of its models to ask; write {address}#MODEL, with a name from "
            "its /models page."
        )
    return {"base_url": address, "model": model}
