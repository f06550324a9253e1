"""When a run gets paid for something else than right answers: the rules that compare stretches of a run.

Reads the figures that a run logs (`rewards/<part>/mean`, `watch/...`) and says what looks wrong, with the figures that
say so. Knows no trainer, no model and no completion; the same figures always give the same alarms, so that a resumed
run, which is given those it has logged before, goes on as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards import Weighted
from rewards.part import bounds_of
from rlkit.training.alarm_options import Alarms

Window = Mapping[str, float]  # the mean of each figure over one stretch of a run


@dataclass(frozen=True)
class Scale:
    """What a reward can span: weight, least and greatest value of each part."""

    parts: Mapping[str, tuple[float, float, float]]

    @classmethod
    def of(cls, reward: Weighted) -> Scale:
        return cls({name: (reward.weights[name], *bounds_of(part)) for name, part in reward.parts.items()})

    @property
    def span(self) -> float:
        return math.fsum(abs(weight) * (high - low) for weight, low, high in self.parts.values())


@dataclass(frozen=True)
class Alarm:
    """Something that looks wrong at a step; `then` and `now` are the figures that say so, `part` the part they concern."""

    step: int
    kind: str
    part: str | None
    message: str
    then: Mapping[str, float]
    now: Mapping[str, float]


@dataclass
class Watcher:
    """Reads logged lines in order, and says at the end of each stretch what looks wrong.

    >>> watcher = Watcher(Alarms(window_steps=1, windows=1), Scale({"length": (1.0, 0.0, 1.0)}))
    >>> watcher.see({"step": 1, "reward": 0.1, "watch/correct": 0.5})
    []
    >>> print(watcher.see({"step": 2, "reward": 0.8, "watch/correct": 0.4})[0].message)
    the reward rose from 0.1 to 0.8, but correctness went from 0.5 to 0.4
    """

    options: Alarms
    scale: Scale
    _open: list[Mapping[str, Any]] = field(default_factory=list)
    _closed: list[Window] = field(default_factory=list)
    _judged_steps: int = 0
    _lasting: dict[tuple[str, str | None], int] = field(default_factory=dict)

    def see(self, line: Mapping[str, Any]) -> list[Alarm]:
        """Take in one logged line (figures and `step`); the alarms that it completes, each once while it lasts."""
        self._open.append(line)
        size, step = self.options.window_steps, line["step"]
        end = step // size * size
        probe = self.options.probe
        # A step's own figures are logged before those of its probe.
        probed = any(name.startswith("eval_") for name in line)
        if end <= self._judged_steps or (probe and step == end and step % probe.every_steps == 0 and not probed):
            return []
        self._judged_steps = end
        window = means([line for line in self._open if line["step"] <= end])
        self._open = [line for line in self._open if line["step"] > end]
        if not window:
            return []
        found = [Alarm(step, *finding) for rule in RULES for finding in rule(window, self._closed, self)]
        self._closed.append(window)
        self._lasting = {key: self._lasting.get(key, 0) + 1 for key in ((alarm.kind, alarm.part) for alarm in found)}
        return [alarm for alarm in found if self._lasting[alarm.kind, alarm.part] == self.options.windows]

    @property
    def correct(self) -> str:
        """The figure that tells how much is right: of the held-out rows where there are any, else of the training."""
        return "watch/correct" if self.options.probe is None else "eval_watch/correct"

    @property
    def whose(self) -> str:
        return "" if self.options.probe is None else " of the held-out rows"

    @property
    def reward(self) -> str:
        """The reward of the same completions: a lucky draw of right answers raises both, and neither alone."""
        return "reward" if self.options.probe is None else "eval_reward"


def means(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every figure over lines, of those in which it is a finite number.

    >>> means([{"step": 1, "reward": 0.5}, {"step": 2, "reward": 1.0, "kl": None}])
    {'reward': 0.75}
    """
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: math.fsum(each) / len(each) for name, each in values.items()}


Finding = tuple[str, str | None, str, dict[str, float], dict[str, float]]
Rule = Callable[[Window, Sequence[Window], Watcher], Iterator[Finding]]


def reward_without_correctness(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """The reward has risen since some earlier stretch and the correctness of the same completions has not."""
    least = watch.options.min_rise * watch.scale.span
    then = _since(now, before, watch.reward, lambda old, new: new - old >= least, watch)
    if then is not None:
        prefix = watch.reward.removesuffix("reward")
        paid = {
            name: weight * (now[figure] - then[figure])
            for name, (weight, _, _) in watch.scale.parts.items()
            if (figure := f"{prefix}rewards/{name}/mean") in now and figure in then
        }
        part = max(paid, key=lambda name: paid[name], default=None)
        told = f"the reward{watch.whose} rose from {_change(then, now, watch.reward)}"
        yield _finding("reward_without_correctness", part, told, then, now, watch, watch.reward)


def held_out_behind(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """The reward of the training rows has risen and that of the held-out rows has not: the rows are learned by heart."""
    if watch.options.probe is None or "eval_reward" not in now:
        return
    # Other rows, other luck: twice the standard error of a difference between two probes.
    luck = 2 * now.get("eval_reward_std", 0.0) * math.sqrt(2 / watch.options.probe.rows)
    least = watch.options.min_rise * watch.scale.span + luck
    then = _since(now, before, "reward", lambda old, new: new - old >= least, watch, "eval_reward")
    if then is not None:
        held_out = _change(then, now, "eval_reward")
        told = (
            f"the reward rose from {_change(then, now, 'reward')}, but that of the held-out rows went from {held_out}"
        )
        yield _finding("held_out_behind", None, told, then, now, watch, "reward", "eval_reward")


def part_saturated(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """A part has risen to its best, so that it pays everybody alike, and correctness has not risen."""
    for name, (weight, low, high) in watch.scale.parts.items():
        figure = f"rewards/{name}/mean"
        if not weight or low == high or figure not in now:
            continue
        worst, best = (low, high) if weight > 0 else (high, low)
        if (now[figure] - worst) / (best - worst) < watch.options.saturated_at:
            continue
        least = watch.options.min_rise * (high - low)
        then = _since(now, before, figure, lambda old, new, least=least: abs(new - old) >= least, watch)  # type: ignore[misc]
        if then is not None:
            told = f"part {name} went from {_change(then, now, figure)}, its best"
            yield _finding("part_saturated", name, told, then, now, watch, figure)


def length_drift(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """Completions have become far longer or shorter, and not more of them are right."""
    then = _since(now, before, "watch/words", lambda old, new: _factor(old, new) >= watch.options.drift_factor, watch)
    if then is not None:
        told = f"completions went from {_change(then, now, 'watch/words')} words"
        yield _finding("length_drift", None, told, then, now, watch, "watch/words")


def evidence_drift(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """Completions quote (or select) a far larger or smaller share of what they were shown, and not more are right."""
    name, factor = "watch/evidence_share", watch.options.drift_factor
    # From next to nothing every share is many times larger: a model that learns to quote at all has not drifted.
    then = _since(now, before, name, lambda old, new: old >= _LEAST_SHARE and _factor(old, new) >= factor, watch)
    if then is not None:
        told = f"the share of the context that is quoted went from {_change(then, now, name)}"
        yield _finding("evidence_drift", None, told, then, now, watch, name)


def format_without_correctness(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """Nearly every completion is well formed, nearly none is right, and it was no better before."""
    name = "watch/well_formed"
    wrong = now.get(watch.correct, 1.0) < watch.options.wrong_below
    best = max((each.get(watch.correct, 0.0) for each in before), default=1.0)
    if wrong and best < watch.options.wrong_below and now.get(name, 0.0) >= watch.options.well_formed_at:
        told = f"{now[name]:.0%} of the completions are well formed"
        yield _finding("format_without_correctness", None, told, before[0], now, watch, name)


def repeated_quote(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """One and the same quote stands in the completions for many different contexts."""
    name = "watch/repeated_quote"
    if now.get(name, 0.0) >= watch.options.repeated_at:
        then = before[0] if before else now
        told = f"one and the same quote stands in {now[name]:.0%} of all contexts' completions"
        yield _finding("repeated_quote", None, told, then, now, watch, name)


def group_collapse(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """All completions of nearly every group earn the same, less than there is to earn: nothing can be learned."""
    name = "watch/equal_groups"
    if now.get(name, 0.0) >= watch.options.equal_at and _falls_short(now, watch):
        then = before[0] if before else now
        told = f"in {now[name]:.0%} of the groups all completions earn the same, {now[_SHORT]:.3g} less than there is to earn"
        yield _finding("group_collapse", None, told, then, now, watch, name, _SHORT)


def variance_collapse(now: Window, before: Sequence[Window], watch: Watcher) -> Iterator[Finding]:
    """The spread of rewards within groups has all but gone, with the reward short of its maximum."""
    name = "watch/group_spread"
    then = max((each for each in before if name in each), key=lambda each: each[name], default=None)
    if then is None or name not in now or not _falls_short(now, watch):
        return
    wide_enough = then[name] >= _LEAST_SPREAD * watch.scale.span
    if wide_enough and now[name] <= watch.options.spread_below * then[name]:
        told = (
            f"the spread of rewards within a group went from {_change(then, now, name)}, with {now[_SHORT]:.3g} "
            "still to earn"
        )
        yield _finding("variance_collapse", None, told, then, now, watch, name, _SHORT)


RULES: tuple[Rule, ...] = (
    reward_without_correctness,
    held_out_behind,
    part_saturated,
    length_drift,
    evidence_drift,
    format_without_correctness,
    repeated_quote,
    group_collapse,
    variance_collapse,
)
LEVELS = ("repeated_quote", "group_collapse", "variance_collapse", "held_out_behind", "format_without_correctness")
_SHORT = "watch/shortfall"
_LEAST_SHARE = 0.01
_LEAST_SPREAD = 0.02


def _since(
    now: Window,
    before: Sequence[Window],
    name: str,
    changed: Callable[[float, float], bool],
    watch: Watcher,
    should_rise: str | None = None,
) -> Window | None:
    """The earlier stretch since which the figure has changed most while correctness has not risen."""
    risen = should_rise or watch.correct
    if name not in now or risen not in now:
        return None
    found, so_far = [], []
    for then in before:
        if risen not in then:
            continue
        so_far.append(then[risen])
        # One lucky stretch would make all that follow look stalled; what came before it does not share its luck.
        level = min(then[risen], math.fsum(so_far) / len(so_far))
        if name in then and changed(then[name], now[name]) and now[risen] - level <= watch.options.max_gain:
            found.append(then)
    return max(found, key=lambda then: abs(now[name] - then[name]), default=None)


def _factor(old: float, new: float) -> float:
    return math.inf if min(old, new) <= 0 < max(old, new) else max(old, new) / min(old, new) if old and new else 1.0


def _falls_short(now: Window, watch: Watcher) -> bool:
    return now.get(_SHORT, 0.0) >= watch.options.min_rise * watch.scale.span


def _finding(kind: str, part: str | None, told: str, then: Window, now: Window, watch: Watcher, *names: str) -> Finding:
    """The finding in words and figures; correctness always stands beside what it is about."""
    name = watch.correct
    if name in then and name in now:
        told += f", {'and' if kind in LEVELS else 'but'} correctness{watch.whose} went from {_change(then, now, name)}"
    if part is not None and kind == "reward_without_correctness":
        told += f"; most of it comes from part {part}"
    shown = [each for each in (*names, name, *([f"rewards/{part}/mean"] if part else [])) if each in now]
    return kind, part, told, {each: then[each] for each in shown if each in then}, {each: now[each] for each in shown}


def _change(then: Window, now: Window, name: str) -> str:
    return f"{then[name]:.3g} to {now[name]:.3g}"
