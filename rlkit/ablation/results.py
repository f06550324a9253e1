"""What an ablation measured: read from its folders, written to one file, and put together from several such files.

A file holds every single figure of every seed, what was run, with which settings and versions, and what went wrong, so
that tables and plot can be made of it later, without the folders. Knows files; knows no statistics.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rewards.config import from_config as rewards_from_config
from rlkit.ablation.inputs import named_files
from rlkit.ablation.jobs import evaluation_folder, failure_of, read_note
from rlkit.ablation.settings import Ablation, Stage
from rlkit.config import differences
from rlkit.errors import ConfigError, DataError
from rlkit.plain import plain
from rlkit.reporting.folders import read_lines
from rlkit.training.alarms import Scale
from rlkit.yaml_files import read_yaml_file

T = TypeVar("T")
DIGITS = 6  # of a figure; 300 questions need three
LOST = 0.2  # of what a reward can span: a training that ends so far below its best has lost what it had learned
END_SHARE = 0.1  # of the logged steps: what counts as a training's end


class Figure(NamedTuple):
    """What was measured: a metric of a suite's subset, asked with a context policy."""

    suite: str
    subset: str
    context: str
    metric: str


@dataclass(frozen=True)
class Run:
    """One stage of one seed: each figure of its model with the count of questions behind it, seconds, and what went wrong.

    `seconds` has `made` and `evaluated`, as far as these have ended. `failures` are words for readers, one each;
    `alarms` those of the training, as `kind at step N`. `curve` is the reward at each logged step, `reward_share` the
    share of a step's time that went into rewards, on average; a training without rewards has neither.
    """

    stage: str
    seed: int
    figures: Mapping[Figure, float] = field(default_factory=dict)
    counts: Mapping[Figure, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    reward_share: float | None = None


@dataclass(frozen=True)
class Results:
    """Runs of one ablation, and all that decided them: `settings` of the file and of every config that it names.

    `commands` make them, `versions` are those that did, each once.
    """

    settings: Mapping[str, Any]
    commands: tuple[str, ...]
    versions: tuple[Mapping[str, Any], ...]
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        return str(self.settings["title"])

    @property
    def stages(self) -> dict[str, Mapping[str, Any]]:
        """Everything that is made for a seed, by name, in the order of the file."""
        return {**self.settings["before"], **self.settings["variants"]}

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(run.seed for run in self.runs))

    @property
    def differences(self) -> dict[str, tuple[str, str]]:
        return {name: (pair[0], pair[1]) for name, pair in self.settings["differences"].items()}

    @property
    def headlines(self) -> list[str]:
        """The metric that each suite shows first."""
        return list(dict.fromkeys(suite["headline"] for suite in self.settings["evaluation"]["suites"].values()))

    @property
    def by_run(self) -> dict[tuple[str, int], Run]:
        return {(run.stage, run.seed): run for run in self.runs}


def read(ablation: Ablation, command: str) -> Results:
    """What is there of an ablation, finished or not, from its folders."""
    found = [_run(ablation, seed, stage) for seed in ablation.seeds for stage in ablation.stages.values()]
    versions = _once(one for _, made_with in found for one in made_with)
    return Results(settings_of(ablation), (command,), versions, tuple(run for run, _ in found))


def settings_of(ablation: Ablation) -> dict[str, Any]:
    """Everything that decides an ablation's figures but seeds and versions, as plain values that JSON knows."""
    stages = ablation.stages.values()
    configs = dict.fromkeys(path for stage in stages for path in (stage.config, stage.sample) if path is not None)
    settings, suites = ablation.evaluation()
    told = {
        "title": ablation.title,
        "before": {name: _told(stage) for name, stage in ablation.before.items()},
        "variants": {name: _told(stage) for name, stage in ablation.variants.items()},
        "differences": ablation.differences,
        "configs": {path: read_yaml_file(Path(path)) for path in configs},
        "evaluation": {"model": settings.model, "suites": {suite.name: suite for suite in suites}},
    }
    settled: dict[str, Any] = json.loads(json.dumps(plain(told), default=str))
    trained = [ablation.config(ablation.seeds[0], stage.name).to_dict() for stage in stages if stage.world is None]
    files = named_files([settled["configs"], settled["evaluation"], plain(trained)], ablation.output_dir)
    return {**settled, "files": files} if files else settled


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write the plain values of results whole or not at all, one run or figure a line."""
    from rlkit.whole_files import write_text

    parts = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict | list):
            body = ",\n".join(json.dumps(one, ensure_ascii=False) for one in value)
            parts.append(f'"{key}": [\n{body}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value, ensure_ascii=False, indent=1)}')
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def as_data(results: Results) -> dict[str, Any]:
    """Results as plain values: figures once, and for each run its values and counts in their order."""
    figures = list(dict.fromkeys(figure for run in results.runs for figure in run.figures))
    return {
        "commands": list(results.commands),
        "versions": [dict(one) for one in results.versions],
        "settings": plain(results.settings),
        "figures": [list(figure) for figure in figures],
        "runs": [
            {
                "stage": run.stage,
                "seed": run.seed,
                "seconds": dict(run.seconds),
                "failures": list(run.failures),
                "alarms": list(run.alarms),
                "reward_share": run.reward_share,
                "curve": [list(point) for point in run.curve],
                "values": [run.figures.get(figure) for figure in figures],
                "counts": [run.counts.get(figure) for figure in figures],
            }
            for run in results.runs
        ],
    }


def load(paths: Sequence[Path]) -> Results:
    """The results of one or several files together; each run may stand in one of them alone.

    Raises `DataError` for what is no such file, and `ConfigError` where files are of other settings, naming what
    differs, or hold the same run.
    """
    parts = [_load(path) for path in paths]
    first, found = parts[0], dict[tuple[str, int], Path]()
    for path, part in zip(paths, parts, strict=True):
        changed = differences(first.settings, part.settings)
        if changed:
            lines = "\n  ".join(changed)
            raise ConfigError(
                f"{path}: was made with other settings than {paths[0]}, so their seeds are not those of one ablation. What "
                f"differs:\n  {lines}\nGive the files of one set alone."
            )
        for run in part.runs:
            if (run.stage, run.seed) in found:
                raise ConfigError(
                    f"{path}: seed {run.seed} of {run.stage} stands in {found[run.stage, run.seed]} as well, so it would be "
                    "counted twice; give each seed in one file."
                )
            found[run.stage, run.seed] = path
    runs = sorted((run for part in parts for run in part.runs), key=lambda run: run.seed)
    commands = _once(command for part in parts for command in part.commands)
    return Results(first.settings, commands, _once(one for part in parts for one in part.versions), tuple(runs))


def _load(path: Path) -> Results:
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; `rlkit ablate` writes results.json into its output_dir.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        figures = [Figure(*_texts(one)) for one in data["figures"]]
        runs = tuple(_run_in_file(one, figures) for one in data["runs"])
        versions = tuple(dict(one) for one in data["versions"])
        found = Results(data["settings"], _texts(data["commands"]), versions, runs)
        # told of here, not in the middle of a table
        names = [*(run.stage for run in runs), *(name for pair in found.differences.values() for name in pair)]
        _ = found.title, _texts(found.headlines)
        unknown = [name for name in names if name not in found.stages]
        if unknown or not any(run.figures for run in runs):
            raise ValueError(f"{unknown[0]!r} is none of its variants" if unknown else "it holds no figure")
        return found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: is no results.json of `rlkit ablate` ({type(error).__name__}: {error}); give one that it wrote."
        ) from error


def _run_in_file(one: Mapping[str, Any], figures: Sequence[Figure]) -> Run:
    """A run as a file tells of it; raises where anything in it is not what tables count with."""
    values, counts = (
        {figure: value for figure, value in zip(figures, one[key], strict=True) if value is not None}
        for key in ("values", "counts")
    )
    if type(one["seed"]) is not int or one["seed"] < 0:
        raise ValueError(f"seed: {one['seed']!r} is no whole number")
    curve = tuple((_number(step), _number(reward)) for step, reward in one["curve"])
    for number in (*values.values(), *counts.values(), *one["seconds"].values()):
        _number(number)
    share = one["reward_share"] if one["reward_share"] is None else _number(one["reward_share"])
    failures, alarms = _texts(one["failures"]), _texts(one["alarms"])
    return Run(one["stage"], one["seed"], values, counts, one["seconds"], failures, alarms, curve, share)


def _number(value: Any) -> Any:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{values!r:.80} is no list of texts")
    return tuple(values)


def _once(items: Iterable[T]) -> tuple[T, ...]:
    """Each item once, in order; of what can be no key as well."""
    found: list[T] = []
    for item in items:
        if item not in found:
            found.append(item)
    return tuple(found)


def _told(stage: Stage) -> dict[str, Any]:
    """What an ablation's file says of a stage, as far as it says anything."""
    values = {key: value for key, value in plain(stage).items() if key != "name" and value not in (None, {})}
    return {("from" if key == "start" else key): value for key, value in values.items()}


def _run(ablation: Ablation, seed: int, stage: Stage) -> tuple[Run, list[Mapping[str, Any]]]:
    """A run as its folders tell of it, and the versions that made it."""
    folder, evaluated = ablation.folder(seed, stage.name), evaluation_folder(ablation, seed, stage.name)
    figures, counts = dict[Figure, float](), dict[Figure, int]()
    seconds, failures, versions = dict[str, float](), list[str](), list[Mapping[str, Any]]()
    for what, place in (("made", folder), ("evaluated", evaluated)):
        note = place.with_name(f"{place.name}.done.json")
        if note.is_file():
            noted = read_note(note, ("seconds",))
            seconds[what] = noted["seconds"]
            versions += [noted["made_with"]] if "made_with" in noted else []
        elif failure_of(note).is_file():
            failed = read_note(failure_of(note), ("words", "exit_code"))
            words, code = failed["words"].strip().splitlines(), failed["exit_code"]
            how = f" (ended by {signal.Signals(-code).name})" if code < 0 else ""
            failures.append(f"could not be {what}{how}: {words[-1] if words else 'it said nothing'}")
    if "evaluated" in seconds:
        suites = read_note(evaluated / "results.json", ("suites",))["suites"]
        for cell in (cell for suite in suites.values() for cell in suite["cells"] if cell["mean"] is not None):
            figure = Figure(cell["suite"], cell["subset"], cell["context"], cell["metric"])
            figures[figure], counts[figure] = round(cell["mean"], DIGITS), cell["n"]
    alarms: list[str] = []
    steps = list(read_lines(folder / "metrics.jsonl")) if stage.config is not None else []
    if stage.config is not None:
        rewards = ablation.config(seed, stage.name).to_dict().get("rewards")
        span = Scale.of(rewards_from_config(rewards)).span if rewards else 0.0
        failures += what_went_wrong(steps, span)
        alarms = [f"{one['kind']} at step {one['step']}" for one in read_lines(folder / "alarms.jsonl")]
    curve = tuple((one["step"], round(one["reward"], 4)) for one in steps if math.isfinite(one.get("reward", math.nan)))
    shares = [one["time/rewards_share"] for one in steps if "time/rewards_share" in one]
    share = round(math.fsum(shares) / len(shares), 4) if shares else None
    told = (seconds, tuple(failures), tuple(alarms), curve, share)
    return Run(stage.name, seed, figures, counts, *told), versions


def what_went_wrong(steps: Sequence[Mapping[str, Any]], span: float) -> list[str]:
    """What a training's logged steps say of its health: numbers that are none, and a reward that was lost again.

    `span` is what the reward can span. The end is the mean over the last tenth of the logged steps, the best that of as
    many in a row.

    >>> what_went_wrong([{"reward": 0.8}, {"reward": 0.9}, {"reward": 0.1}], span=1.0)
    ['the reward ended at 0.100; its best was 0.900']
    >>> what_went_wrong([{"loss": float("nan")}, {"loss": 0.1}], span=1.0)
    ['loss: no number at 1 of 2 logged steps']
    """
    found = []
    for name in ("loss", "grad_norm", "reward"):
        values = [step[name] for step in steps if isinstance(step.get(name), int | float)]
        broken = sum(not math.isfinite(value) for value in values)
        if broken:
            found.append(f"{name}: no number at {broken} of {len(values)} logged steps")
    rewards = [step["reward"] for step in steps if "reward" in step and math.isfinite(step["reward"])]
    width = max(1, round(END_SHARE * len(rewards)))
    means = [math.fsum(rewards[at : at + width]) / width for at in range(len(rewards) - width + 1)]
    if means and span > 0 and round(max(means) - means[-1], DIGITS) >= LOST * span:
        found.append(f"the reward ended at {means[-1]:.3f}; its best was {max(means):.3f}")
    return found
