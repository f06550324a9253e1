"""A suite: one YAML file that says what data is asked, with which prompt and contexts, and how answers are judged.

Knows the keys of that file; opens no data and knows no model. Shipped suites stand in `suites/`; a user's own is named
by its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from rlkit.config import TASKS
from rlkit.errors import ConfigError, nearest
from rlkit.evaluation.contexts import POLICIES, Policy
from rlkit.evaluation.metrics import METRICS, Metric, metrics_named
from rlkit.evaluation.prompt import Prompt
from rlkit.evaluation.published import published_tables
from rlkit.plain import frozen, plain
from rlkit.yaml_files import read_yaml_file

FOLDER = Path(__file__).parent / "suites"
# What a source says of one place and not of another. Not `facts`: they are another data set's.
_OF_A_PATH = ("subset", "split", "revision", "limit", "contexts", "ranges", "aliases")


@dataclass(frozen=True)
class Table:
    """How a suite's figures are put together: the section `table:`.

    `overall` is the mean over all examples ("example") or over the subsets' means ("macro"). `groups` names means of
    several subsets {name: subsets}. `published` names tables of the file of published numbers, one or a list.
    """

    overall: Literal["example", "macro"] = "example"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """Everything that decides a suite's figures but the model.

    `data` maps names to sources as in a training config. An example's subset is that name, or the value of its column
    `subset_by`. `contexts` maps names to policies with their options; `context` names the one that the suite is asked
    with, the others are its baselines. `strict` counts an answer in another format than the task's as empty. `headline`
    is the metric that a table shows first.
    """

    name: str
    title: str
    data: Mapping[str, Mapping[str, Any]]
    metrics: tuple[str, ...]
    headline: str
    max_new_tokens: int
    contexts: Mapping[str, Policy]
    context: str
    prompt: Prompt = field(default_factory=Prompt)
    table: Table = field(default_factory=Table)
    task: str = "care"
    subset_by: str | None = None
    strict: bool = False

    @property
    def made_up(self) -> list[str]:
        """The sources whose rows come from a generator and its seed: those without a path."""
        return [name for name, source in self.data.items() if "path" not in source]

    def drawn(self, seed: int) -> Suite:
        """The suite with the rows of its made-up sources drawn from this seed; sources that pair row by row still do."""
        new = {name: {**source, "seed": seed} for name, source in self.data.items() if name in self.made_up}
        return replace(self, data=frozen({**self.data, **new}))

    def scorers(self) -> dict[str, Metric]:
        """The metrics by name; raises `ConfigError` where a package that one needs is missing."""
        try:
            return metrics_named(self.metrics, strict=self.strict)
        except ConfigError as error:
            raise ConfigError(f"suite {self.name}: metrics: {error}") from error

    def policy(self, name: str) -> Policy:
        """The context policy of that name: the suite's own, else the plain one; raises `ConfigError`."""
        if name in self.contexts:
            return self.contexts[name]
        known = [*self.contexts, *(policy for policy in POLICIES if policy not in self.contexts)]
        if name not in known:
            raise ConfigError(f"context {name!r} is unknown to suite {self.name}; there are {', '.join(known)}.{nearest(name, known)}")  # fmt: skip
        return Policy.from_config(name, f"suite {self.name}: contexts.{name}")


def suite_names() -> list[str]:
    """The shipped suites."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_suite(name: str, changes: Mapping[str, Any] | None = None, where: str = "--suite") -> Suite:
    """A shipped suite, or one in a YAML file, with some of its values changed as a config's `suites.NAME` says.

    Changes go key by key into mappings. A source with a new path keeps its format, and nothing that was said of the old
    place, its further files (`contexts`, `ranges`, `aliases`) among it. Raises `ConfigError`.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = suite_names()
        raise ConfigError(
            f"{where}: there is no suite {name!r}.{nearest(name, known)} Suites: {', '.join(known)}; your own is named by "
            "the path of its YAML file."
        )
    values = read_yaml_file(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: holds {type(values).__name__}, but a suite is a mapping such as `data: ...`.")
    if changes is not None and not isinstance(changes, Mapping):
        raise ConfigError(f"{where}: is {changes!r:.60}, but must be a mapping of what differs from the suite.")
    merged = _merged(values, changes or {})
    # A complaint about what a user changed names the place where that was done.
    return parse_suite(merged, path.stem, f"{where}" if changes else str(path))


def parse_suite(values: Mapping[str, Any], name: str, where: str = "suite") -> Suite:
    """A checked suite from plain values.

    >>> mine = parse_suite({"title": "Mine", "data": {"mine": {"format": "records", "path": "x"}}, "metrics": ["f1"]}, "mine")
    >>> mine.headline, mine.contexts, mine.table.overall
    ('f1', mappingproxy({'full': Policy(full)}), 'example')
    """
    given = dict(values)
    known = [f.name for f in fields(Suite) if f.name != "name"]
    _check_keys(given, known, where)
    for key in ("title", "data", "metrics"):
        if not given.get(key):
            raise ConfigError(f"{where}: {key}: missing; a suite needs {key}.")
    task = given.get("task", "care")
    if task not in TASKS:
        raise ConfigError(
            f"{where}: task: is {task!r}, but must be one of {', '.join(TASKS)}.{nearest(str(task), TASKS)}"
        )
    metrics = given["metrics"]
    if not isinstance(metrics, list | tuple) or len(set(metrics)) < len(metrics):
        raise ConfigError(f"{where}: metrics: is {metrics!r:.80}, but must be a list of names, each once.")
    for metric in metrics:  # a missing package is no error of the file; `scorers` tells of it
        if metric not in METRICS:
            raise ConfigError(
                f"{where}: metrics: {metric!r} is unknown; there are {', '.join(METRICS)}.{nearest(str(metric), METRICS)}"
            )
    headline: Any = given.get("headline", metrics[0])
    if headline not in metrics:
        raise ConfigError(f"{where}: headline: {headline!r} is none of its metrics, {', '.join(metrics)}.{nearest(str(headline), metrics)}")  # fmt: skip
    length = given.get("max_new_tokens", 1024)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ConfigError(f"{where}: max_new_tokens: is {length!r}, but must be a whole number of at least 1.")
    contexts = _contexts(given.get("contexts"), f"{where}: contexts")
    context = given.get("context", next(iter(contexts)))
    if context not in contexts:
        raise ConfigError(f"{where}: context: {context!r:.60} is none of its contexts, {', '.join(contexts)}.{nearest(str(context), contexts)}")  # fmt: skip
    for key, kind, word in (("title", str, "text"), ("strict", bool, "true or false"), ("subset_by", str, "a column")):
        if given.get(key) is not None and not isinstance(given[key], kind):
            raise ConfigError(f"{where}: {key}: is {given[key]!r:.60}, but must be {word}.")
    return Suite(
        name=name,
        title=given["title"],
        data=frozen(_data(given["data"], f"{where}: data")),
        metrics=tuple(metrics),
        headline=headline,
        max_new_tokens=length,
        contexts=frozen(contexts),
        context=context,
        prompt=Prompt.from_config(given.get("prompt"), f"{where}: prompt"),
        table=_table(given.get("table"), f"{where}: table"),
        task=task,
        subset_by=given.get("subset_by"),
        strict=bool(given.get("strict", False)),
    )


def _data(section: Any, where: str) -> dict[str, dict[str, Any]]:
    sources = _mapping(section, where)
    for name, spec in sources.items():
        if not isinstance(spec, Mapping) or not isinstance(spec.get("format"), str):
            raise ConfigError(
                f"{where}.{name}: is {spec!r:.80}, but needs a format, e.g. {{format: hotpotqa, path: FILE}}."
            )
    return sources


def _contexts(section: Any, where: str) -> dict[str, Policy]:
    entries = _mapping({"full": None} if section is None else section, where)
    if not entries:
        raise ConfigError(f"{where}: none given; leave the section out for the full context.")
    made = {}
    for name, options in entries.items():
        given = _mapping(options, f"{where}.{name}")
        made[str(name)] = Policy.from_config({"policy": name, **given}, f"{where}.{name}")
    return made


def _table(section: Any, where: str) -> Table:
    given = _mapping(section, where)
    _check_keys(given, [f.name for f in fields(Table)], where, separator=".")
    overall = given.get("overall", "example")
    if overall not in ("example", "macro"):
        raise ConfigError(f"{where}.overall: is {overall!r}, but must be example or macro.{nearest(str(overall), ('example', 'macro'))}")  # fmt: skip
    groups = _mapping(given.get("groups"), f"{where}.groups")
    for name, members in groups.items():
        if not isinstance(members, list | tuple) or not all(isinstance(member, str) for member in members):
            raise ConfigError(f"{where}.groups.{name}: is {members!r:.80}, but must be a list of subsets.")
    published = given.get("published") or ()
    published = (published,) if isinstance(published, str) else tuple(published)
    for key in published:
        if key not in published_tables():
            raise ConfigError(f"{where}.published: there is no table {key!r:.60}; there are {', '.join(published_tables())}.{nearest(str(key), published_tables())}")  # fmt: skip
    return Table(overall, frozen(groups), published)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        if key == "data" and isinstance(old, Mapping) and isinstance(change, Mapping):
            merged[key] = {**old, **{name: _source(old.get(name), spec) for name, spec in change.items()}}
            merged[key] = {name: spec for name, spec in merged[key].items() if spec is not None}
        elif isinstance(old, Mapping) and isinstance(change, Mapping):
            merged[key] = _merged(old, change)
        else:
            merged[key] = change
    return cast(dict[str, Any], plain(merged))


def _source(old: Any, change: Any) -> Any:
    """The source with its changes; `null` takes a subset out of the suite."""
    if not isinstance(old, Mapping) or not isinstance(change, Mapping):
        return change
    kept = {key: value for key, value in old.items() if "path" not in change or key not in _OF_A_PATH}
    return {**kept, **change}


def _check_keys(given: Mapping[str, Any], known: list[str], where: str, separator: str = ": ") -> None:
    for key in given:
        if key not in known:
            raise ConfigError(
                f"{where}{separator}{key}: no such key; there are {', '.join(known)}.{nearest(str(key), known)}"
            )


def _mapping(section: Any, where: str) -> dict[str, Any]:
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise ConfigError(f"{where}: is {section!r:.80}, but must be a mapping of keys to values.")
    return dict(section)
