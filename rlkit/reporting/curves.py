"""The curves of a report: which figures are drawn where, from metrics.jsonl and from the logged completions.

Knows figures by their names in the log and says in words what was not logged. Draws nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlkit.batches import batches
from rlkit.errors import ConfigError
from rlkit.reporting.completions import Browser
from rlkit.reporting.folders import Folder
from rlkit.sources import schedule_of

MAX_POINTS = 1_200  # of one curve: more than a screen has columns
HELD_OUT = "eval_"

Series = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """What one chart shows: `find` gives pairs of a figure's name in the log and its label; `spread` adds a band.

    `share` says that the figures are shares of 1; `absent` says why a run may have none.
    """

    id: str
    section: str
    title: str
    about: str
    find: Callable[[Iterable[str]], list[tuple[str, str]]]
    share: bool = False
    absent: str = ""


def _named(*names: str | tuple[str, str]) -> Callable[[Iterable[str]], list[tuple[str, str]]]:
    wanted = [(name, name) if isinstance(name, str) else name for name in names]
    return lambda keys: [(name, label) for name, label in wanted if name in keys]


def _matching(pattern: str) -> Callable[[Iterable[str]], list[tuple[str, str]]]:
    compiled = re.compile(pattern)
    return lambda keys: [(key, match[1]) for key in keys if (match := compiled.fullmatch(key))]


CHARTS = (
    Chart("reward", "Reward", "Reward", "Mean total of a batch.", _named(("reward", ""), ("eval_reward", "held out"))),
    Chart("correct", "Reward", "Right answers", "Share that the run's own measure calls right, whatever the reward says.",
          _named(("watch/correct", ""), ("eval_watch/correct", "held out")), True, "the run is not watched (alarms: false)"),
    Chart("parts", "Reward", "{}", "Mean of this part before weighting; the band is one standard deviation.", _matching(r"rewards/(.+)/mean")),
    Chart("none", "Reward", "Parts without a value", "Share of completions for which a part gave None.", _matching(r"rewards/(.+)/none_rate"), True),
    Chart("errors", "Reward", "Parts that failed", "Share of completions for which a part failed and abstained.", _matching(r"rewards/(.+)/error_rate"), True),
    Chart("sources", "Reward", "Reward by source", "Mean total of the completions of each source.", _matching(r"sources/(.+)/reward")),
    Chart("curriculum", "Curriculum", "Share of each source", "Dashed: planned. Solid: what the batches held.", _matching(r"sources/(.+)/share"), True),
    Chart("tokens", "Completions", "Length", "Tokens of a completion; the band reaches from the shortest to the longest.", _named(("completions/mean_length", ""))),
    Chart("clipped", "Completions", "Cut off", "Share of completions that reached the limit of tokens.", _named(("completions/clipped_ratio", "")), True),
    Chart("well_formed", "Completions", "Well formed", "Share of completions in the task's format.", _named(("watch/well_formed", ""), ("eval_watch/well_formed", "held out")), True),
    Chart("evidence_share", "Completions", "Share of the evidence that is cited", "Quoted characters by those of the passages; Memory-T1: sessions selected by sessions shown.",
          _named(("watch/evidence_share", ""), ("eval_watch/evidence_share", "held out")), True),
    Chart("repeated_quote", "Completions", "One quote everywhere", "Share of the other contexts in which the commonest quote stands as well.", _named(("watch/repeated_quote", "")), True),
    Chart("entropy", "Learning", "Entropy", "Mean entropy of the policy's tokens.", _named(("entropy", "")), absent="TRL logs it for GRPO only"),
    Chart("kl", "Learning", "KL divergence", "From the model that training started from.", _named(("kl", "")), absent="TRL logs it where train.beta is above 0"),
    Chart("loss", "Learning", "Loss", "As TRL logs it.", _named(("loss", ""), ("eval_loss", "held out"))),
    Chart("token_accuracy", "Learning", "Tokens predicted right", "Share of the demonstrations' tokens.", _named(("mean_token_accuracy", "")), True),
    Chart("grad_norm", "Learning", "Gradient norm", "Before clipping.", _named(("grad_norm", ""))),
    Chart("learning_rate", "Learning", "Learning rate", "", _named(("learning_rate", ""))),
    Chart("equal_groups", "Learning", "Groups without a signal", "Share of groups in which all completions earn the same.", _named(("frac_reward_zero_std", "")), True),
    Chart("group_spread", "Learning", "Spread within groups", "Mean standard deviation of the reward within a group.", _named(("reward_std", ""))),
    Chart("clip_ratio", "Learning", "Clipped updates", "Share of tokens whose probability ratio was clipped.", _named(("clip_ratio/region_mean", "")), True),
    Chart("step_time", "Speed", "Time per step", "Seconds of one optimizer step.", _named(("step_time", ""))),
    Chart("phases", "Speed", "Where the time goes", "Seconds of a step by what they are spent on.", _matching(r"time/(generation|rewards|update)"),
          absent="an older version does not log it"),
    Chart("rewards_share", "Speed", "Share of the rewards", "Of the time of a step, what the reward takes.", _named(("time/rewards_share", "")), True),
    Chart("tokens_seen", "Speed", "Tokens so far", "Prompts and completions, all processes.", _named(("num_tokens", ""))),
)  # fmt: skip


def charts_of(folders: Sequence[Folder], browser: Browser) -> list[dict[str, Any]]:
    """Every chart with its series, those of all runs together; a chart without any says why it is empty."""
    found = []
    for chart in CHARTS:
        series = {number: _series(chart, number, folder) for number, folder in enumerate(folders)}
        if chart.id == "parts":
            names = dict.fromkeys(name for each in series.values() for name in (one["name"] for one in each))
            for name in names:
                own = [one for each in series.values() for one in each if one["name"] == name]
                for one in own:
                    one["name"] = one.pop("part")
                found.append(_chart(chart, own, f"{chart.id}/{name}", chart.title.format(name)))
            continue
        lines = [one for each in series.values() for one in each]
        if chart.id == "curriculum":
            plans = [one for number, folder in enumerate(folders) for one in _planned(number, folder)]
            # Runs of one plan share its lines.
            lines += list({(one["name"], *one["x"], *one["y"]): one for one in reversed(plans)}.values())[::-1]
        empty = any(folders[number].values.get("method") == "grpo" and not each for number, each in series.items())
        if lines:
            found.append(_chart(chart, lines, chart.id, chart.title))
        elif chart.absent and empty:
            found.append({**_chart(chart, [], chart.id, chart.title), "absent": chart.absent})
    found += _from_completions(folders, browser)
    order = list(dict.fromkeys(chart.section for chart in CHARTS))
    return sorted(found, key=lambda chart: order.index(chart["section"]))


def _chart(chart: Chart, series: list[Series], id: str, title: str) -> dict[str, Any]:
    return {
        "id": id,
        "section": chart.section,
        "title": title,
        "about": chart.about,
        "share": chart.share,
        "series": series,
    }


def _series(chart: Chart, number: int, folder: Folder) -> list[Series]:
    keys = dict.fromkeys(key for line in folder.lines for key in line)
    found = []
    for key, label in chart.find(keys):
        points = _points(folder.lines, key, _band(chart.id, key))
        if not points["x"]:
            continue
        held_out = key.startswith(HELD_OUT)
        series = {"run": number, "name": label, "dash": held_out, **points}
        if chart.id == "parts":
            series["part"] = ""
        found.append(series)
        if chart.id == "parts":
            probe = _points(folder.lines, HELD_OUT + key, None)
            if probe["x"]:
                found.append({"run": number, "name": label, "part": "held out", "dash": True, **probe})
    return found


def _band(chart: str, key: str) -> Callable[[Mapping[str, Any], float], tuple[Any, Any]] | None:
    if chart == "parts":
        spread = key.removesuffix("/mean") + "/std"
        return lambda line, value: (
            (value - line[spread], value + line[spread]) if _is_number(line.get(spread)) else (None, None)
        )
    if chart == "tokens":
        return lambda line, value: (line.get("completions/min_length"), line.get("completions/max_length"))
    return None


def _points(
    lines: Sequence[Mapping[str, Any]], key: str, band: Callable[[Mapping[str, Any], float], tuple[Any, Any]] | None
) -> dict[str, list[Any]]:
    """Steps and values, means of neighbours where there are more than `MAX_POINTS`."""
    rows = [(line["step"], line[key], line) for line in lines if _is_number(line.get(key))]
    size = max(1, math.ceil(len(rows) / MAX_POINTS))
    points: dict[str, list[Any]] = {"x": [], "y": []}
    if band is not None:
        points |= {"lo": [], "hi": []}
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        points["x"].append(some[-1][0])
        points["y"].append(_short(math.fsum(value for _, value, _ in some) / len(some)))
        if band is not None:
            low, high = zip(*(band(line, value) for _, value, line in some), strict=True)
            points["lo"].append(_least(low, min))
            points["hi"].append(_least(high, max))
    return points


def _planned(number: int, folder: Folder) -> list[Series]:
    """The schedule's shares at every step; a run without a curriculum has one source and no plan to show."""
    if folder.config is None or folder.config.curriculum is None or not folder.lines:
        return []
    try:
        sums = batches(folder.config, int(folder.environment.get("processes", 1)), 10**6)
        schedule = schedule_of(folder.config)
        known = folder.done or {}
        rounds = int(known.get("rounds") or sums.rounds)
        steps = max(1, round(rounds * sums.steps_per_round))
        points = sorted({round(1 + i * (steps - 1) / 199) for i in range(200)})
        shares = [schedule.shares(min(int((step - 1) / sums.steps_per_round), rounds - 1), rounds) for step in points]
    except (ConfigError, ValueError) as error:
        folder.notes.append(f"The planned curriculum cannot be shown: {error}")
        return []
    return [
        {
            "run": number,
            "name": f"{source}, planned",
            "of": source,
            "dash": True,
            "x": points,
            "y": [_short(share[source]) for share in shares],
        }
        for source in folder.config.sources
    ]


def _from_completions(folders: Sequence[Folder], browser: Browser) -> list[dict[str, Any]]:
    """Curves that no trainer logs: each part by source, words quoted, and what became of the quotes."""
    if not len(browser):
        return []
    note = "From the logged completions."
    columns = browser.columns
    charts: list[dict[str, Any]] = []

    runs = range(len(folders))

    def chart(id: str, section: str, title: str, about: str, series: list[Series], share: bool = False) -> None:
        drawn = [one for one in series if one["x"]]
        if drawn:
            charts.append(
                {
                    "id": id,
                    "section": section,
                    "title": title,
                    "about": f"{about} {note}",
                    "share": share,
                    "series": drawn,
                }
            )

    def series(run: int, name: str, values: Sequence[Any], source: int | None = None) -> Series:
        return {"run": run, "name": name, "dash": False, **_means(columns, values, run, source)}

    if len(browser.sources) > 1:
        for part, values in browser.parts.items():
            lines = [series(run, name, values, i) for run in runs for i, name in enumerate(browser.sources)]
            chart(f"by_source/{part}", "Reward", f"{part}, by source", "Mean of this part for each source.", lines)
    if any(columns["quoted"]):
        words = [series(run, "", columns["quoted"]) for run in runs]
        chart("quoted_words", "Completions", "Words quoted", "Words in distinct quotes of a completion.", words)
        kinds = ("verbatim", "fuzzy", "missing")
        totals = [sum(each) for each in zip(*(columns[kind] for kind in kinds), strict=True)]
        lines = []
        for kind in kinds:
            shares = [count / total if total else None for count, total in zip(columns[kind], totals, strict=True)]
            lines += [series(run, "not found" if kind == "missing" else kind, shares) for run in runs]
        about = "Share of the distinct quotes of a completion."
        chart("quote_kinds", "Completions", "What became of the quotes", about, lines, True)
    return charts


def _means(
    columns: Mapping[str, list[Any]], values: Sequence[Any], run: int, source: int | None = None
) -> dict[str, list[Any]]:
    """The mean of a column at each step that has any, for one run and one source or all of them."""
    sums: dict[int, list[float]] = {}
    for value, step, its_run, its_source in zip(
        values, columns["step"], columns["run"], columns["source"], strict=True
    ):
        if value is not None and its_run == run and source in (None, its_source):
            sums.setdefault(step, []).append(value)
    steps = sorted(sums)
    size = max(1, math.ceil(len(steps) / MAX_POINTS))
    x, y = [], []
    for start in range(0, len(steps), size):
        some = [value for step in steps[start : start + size] for value in sums[step]]
        x.append(steps[min(start + size, len(steps)) - 1])
        y.append(_short(math.fsum(some) / len(some)))
    return {"x": x, "y": y}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _least(values: Iterable[Any], choose: Callable[[Iterable[float]], float]) -> float | None:
    known = [value for value in values if _is_number(value)]
    return _short(choose(known)) if known else None
