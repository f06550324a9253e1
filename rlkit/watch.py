"""`rlkit watch RUN`: a run in the terminal while it trains: parts, curriculum, speed, time left, last completions.

Reads the run's journals again and again; touches nothing of the run, and works as well on one that has ended.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.errors import ConfigError
from rlkit.reporting.folders import Folder, read_folder

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

RECENT = 10  # logged steps behind a mean, and behind the speed
BARS = "▁▂▃▄▅▆▇█"
CURVE = 24  # characters
LAST_BYTES = 2_000_000  # of samples.jsonl are looked through for the last completions
_OTHERS = {
    "completions/mean_length": "tokens a completion",
    "completions/clipped_ratio": "cut off",
    "entropy": "entropy",
    "kl": "KL",
    "loss": "loss",
    "mean_token_accuracy": "tokens right",
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
}


@dataclass(frozen=True)
class Curve:
    """One figure over the run: the newest value, the mean of the newest ten, and all of it as a line of bars."""

    name: str
    now: float
    recent: float
    bars: str = ""
    none_rate: float | None = None


@dataclass(frozen=True)
class Source:
    """A source's share of the rows: what the schedule asks for now, what was drawn lately, and what its rows earned."""

    name: str
    planned: float | None
    drawn: float
    reward: float | None


@dataclass(frozen=True)
class View:
    """What is shown of a run. `left_seconds` is None where nobody can know; `seconds` are of one step."""

    run: str
    told: str
    state: str
    step: int
    steps: int | None
    seconds: float | None
    left_seconds: float | None
    phases: Mapping[str, float]
    rewards: Sequence[Curve]
    others: Sequence[Curve]
    sources: Sequence[Source]
    alarms: Sequence[str]
    completions: Sequence[Mapping[str, Any]] = field(default=())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the folder that `rlkit train` writes (train.output_dir)")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (default 2)")
    parser.add_argument("--completions", type=int, default=2, metavar="N", help="how many of the last ones to show (default 2)")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="print what is there and end (also where output is piped)")
    parser.add_argument("--json", action="store_true", help="the same as one object")


def main(args: argparse.Namespace) -> int:
    if not 0.1 <= args.every <= 3600:
        raise ConfigError(f"--every: is {args.every:g}, but must be from 0.1 to 3600 seconds.")
    if args.completions < 0:
        raise ConfigError(f"--completions: is {args.completions}, but must be at least 0.")
    look = look_at(args.run, args.completions)
    if args.json:
        print(json.dumps(asdict(look), ensure_ascii=False))
        return 0
    from rlkit.console import standard_output

    console = standard_output(piped_width=100)
    if args.once or not sys.stdout.isatty():
        console.print(drawn(look))
        return 0
    from rich.live import Live

    with Live(drawn(look), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while look.state == "training":
            time.sleep(args.every)
            look = look_at(args.run, args.completions)
            live.update(drawn(look), refresh=True)
    return 0


def look_at(run: Path, completions: int = 2) -> View:
    """What the run's folder says now; raises `RunError` for a folder that is no run's."""
    folder = read_folder(run, run.name)
    lines = [line for line in folder.lines if "reward" in line or "loss" in line]
    step = folder.steps
    steps = _all_steps(folder, lines)
    seconds, phases = _speed(lines)
    state = _state(folder)
    left = None if seconds is None or steps is None else max(0, steps - step) * seconds
    model = (folder.values.get("model") or {}).get("model_name_or_path") or "a model from scratch"
    return View(
        run=str(run),
        told=f"{folder.values.get('method')} of {model} on task {folder.values.get('task', 'care')}",
        state=state,
        step=step,
        steps=steps,
        seconds=seconds,
        left_seconds=left if state == "training" else None,
        phases=phases,
        rewards=_rewards(lines),
        others=[curve for name, label in _OTHERS.items() if (curve := _curve(lines, name, label))],
        sources=_sources(folder, lines, step, steps),
        alarms=[f"step {alarm.get('step')}: {alarm.get('told') or alarm.get('kind')}" for alarm in folder.alarms],
        completions=_last(folder.run.samples, completions),
    )


def drawn(look: View) -> Group:
    """The view for a terminal."""
    from rich.console import Group
    from rich.text import Text

    done = f"step {look.step:,}" + ("" if look.steps is None else f" of {look.steps:,}")
    speed = "" if look.seconds is None else f", {look.seconds:.3g} s a step"
    speed += "" if look.left_seconds is None else f", about {_duration(look.left_seconds)} left"
    told: list[RenderableType] = [Text(f"{look.run}: {look.told}", style="bold"), Text(f"{look.state}: {done}{speed}")]
    if look.phases:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in look.phases.items())
        told.append(Text(f"of a step: {shares}"))
    if look.rewards:
        told.append(_table("reward", look.rewards))
    if look.others:
        told.append(_table("training", look.others))
    if look.sources:
        told.append(_source_table(look.sources))
    for alarm in look.alarms[-3:]:
        told.append(Text(f"alarm, {_plain(alarm, 300)}", style="bold red"))
    for line in look.completions:
        earned = line["total"]
        total = "nothing applies" if earned is None else f"{earned:.3g}"
        told.append(Text(f"\nstep {line['step']}, {total} of {line['maximum']:.3g}: {_plain(line['question'], 200)}"))
        told.append(Text(_plain(line["completion"], 600), style="dim"))
    return Group(*told)


def _table(title: str, curves: Sequence[Curve]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title, "now", f"last {RECENT}", "over the run", "none", box=box.SIMPLE, pad_edge=False)
    for curve in curves:
        none = "" if curve.none_rate is None else f"{100 * curve.none_rate:.0f} %"
        table.add_row(Text(_plain(curve.name, 60)), f"{curve.now:.4g}", f"{curve.recent:.4g}", curve.bars, none)
    return table


def _source_table(sources: Sequence[Source]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("source", "planned share", f"drawn, last {RECENT}", "reward", box=box.SIMPLE, pad_edge=False)
    for one in sources:
        planned = "" if one.planned is None else f"{one.planned:.3f}"
        table.add_row(
            Text(_plain(one.name, 60)), planned, f"{one.drawn:.3f}", "" if one.reward is None else f"{one.reward:.3f}"
        )
    return table


def _state(folder: Folder) -> str:
    if folder.done is not None:
        stopped = folder.done.get("stopped")
        return f"stopped by alarm {stopped}" if stopped else "finished"
    from rlkit.runs import is_held

    return "training" if is_held(folder.run) else "not running (the same command goes on)"


def _all_steps(folder: Folder, lines: Sequence[Mapping[str, Any]]) -> int | None:
    """As the config says, or as the epochs that are behind it tell."""
    if folder.done is not None and folder.done.get("steps"):
        return int(folder.done["steps"])
    most = (folder.values.get("train") or {}).get("max_steps")
    if isinstance(most, int) and most > 0:
        return most
    epoch = lines[-1].get("epoch") if lines else None
    epochs = folder.setting("num_train_epochs") or 3
    return math.ceil(epochs * lines[-1]["step"] / epoch) if epoch else None


def _speed(lines: Sequence[Mapping[str, Any]]) -> tuple[float | None, dict[str, float]]:
    """Seconds a step over the last logged ones, and the shares of its phases."""
    names = ("generation", "rewards", "update")
    timed = [line for line in lines[-RECENT:] if all(f"time/{name}" in line for name in names)]
    if timed:
        spent = {name: sum(line[f"time/{name}"] for line in timed) / len(timed) for name in names}
        whole = sum(spent.values())
        return whole, {name: value / whole for name, value in spent.items()} if whole else {}
    times = [line["step_time"] for line in lines[-RECENT:] if isinstance(line.get("step_time"), int | float)]
    return (sum(times) / len(times) if times else None), {}


def _rewards(lines: Sequence[Mapping[str, Any]]) -> list[Curve]:
    names = dict.fromkeys(name for line in lines for name in line)
    parts = [name for name in names if name.startswith("rewards/") and name.endswith("/mean")]
    found = [_curve(lines, "reward", "total"), _curve(lines, "watch/correct", "right answers")]
    for name in parts:
        part = name[len("rewards/") : -len("/mean")]
        none = next(
            (line[f"rewards/{part}/none_rate"] for line in reversed(lines) if f"rewards/{part}/none_rate" in line), None
        )
        found.append(_curve(lines, name, part, none))
    return [curve for curve in found if curve is not None]


def _curve(lines: Sequence[Mapping[str, Any]], name: str, label: str, none_rate: float | None = None) -> Curve | None:
    values = [line[name] for line in lines if isinstance(line.get(name), int | float) and math.isfinite(line[name])]
    if not values:
        return None
    recent = values[-RECENT:]
    return Curve(label, values[-1], sum(recent) / len(recent), bars(values), none_rate)


def bars(values: Sequence[float], width: int = CURVE) -> str:
    """A line of bars, each the mean of a slice of the values, from the least to the greatest of them.

    >>> bars([0, 1, 2, 3, 4, 5, 6, 7])
    '▁▂▃▄▅▆▇█'
    >>> bars([5.0, 5.0])
    '▁▁'
    """
    count = min(width, len(values))
    cuts = [round(at * len(values) / count) for at in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def _sources(folder: Folder, lines: Sequence[Mapping[str, Any]], step: int, steps: int | None) -> list[Source]:
    names = list(folder.values.get("sources") or {})
    recent = lines[-RECENT:]
    if not recent or len(names) < 2:
        return []
    planned = _planned(folder, step, steps)
    found = []
    for name in names:
        shares = [line.get(f"sources/{name}/share", 0.0) for line in recent]
        earned = [line[f"sources/{name}/reward"] for line in recent if f"sources/{name}/reward" in line]
        reward = sum(earned) / len(earned) if earned else None
        found.append(Source(name, planned.get(name), sum(shares) / len(shares), reward))
    return found


def _planned(folder: Folder, step: int, steps: int | None) -> dict[str, float]:
    if folder.config is None or folder.config.curriculum is None or steps is None:
        return {}
    from rlkit.sources import schedule_of

    return schedule_of(folder.config).shares(min(max(step - 1, 0), steps - 1), steps)


def _last(samples: Path, count: int) -> list[dict[str, Any]]:
    """The last completions that were logged; only the end of the file is read."""
    if not count or not samples.is_file():
        return []
    with samples.open("rb") as file:
        file.seek(max(0, samples.stat().st_size - LAST_BYTES))
        texts = file.read().split(b"\n")
    found: list[dict[str, Any]] = []
    for text in reversed(texts[:-1]):  # behind the last line end is nothing, or a line that is being written
        try:
            line = json.loads(text)
            score = line["score"]
        except (ValueError, KeyError, TypeError):
            break  # the first of these lines was cut where reading began
        kept = {"step": line["step"], "question": line.get("question", ""), "completion": line["completion"]}
        found.append({**kept, "total": score["total"], "maximum": score["maximum"]})
        if len(found) == count:
            break
    return found[::-1]


def _plain(text: str, most: int) -> str:
    """The text without what could steer a terminal, and not longer than `most` characters."""
    shown = "".join(char if char.isprintable() or char == "\n" else "�" for char in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
