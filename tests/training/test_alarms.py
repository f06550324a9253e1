"""The rules that watch a run, on made-up series: what makes each fire, and what just does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from rlkit.errors import ConfigError
from rlkit.training.alarm_options import Alarms, Probe
from rlkit.training.alarms import Alarm, Scale, Watcher, means

SCALE = Scale({"accuracy": (0.7, 0.0, 1.0), "format": (0.3, 0.0, 1.0)})
PROBE = Probe({"format": "records", "path": "x"}, rows=64, every_steps=5)
HEALTHY = {
    "reward": 0.4, "rewards/accuracy/mean": 0.4, "rewards/format/mean": 0.4, "watch/correct": 0.4,
    "watch/well_formed": 0.4, "watch/words": 40.0, "watch/evidence_share": 0.1, "watch/repeated_quote": 0.05,
    "watch/equal_groups": 0.3, "watch/group_spread": 0.2, "watch/shortfall": 0.6,
}  # fmt: skip


def series(*stretches: Mapping[str, float], steps: int = 5) -> Iterator[dict[str, Any]]:
    """A logged line a step, each stretch `steps` long: the healthy figures with those given in their place."""
    for number, figures in enumerate(stretches):
        for step in range(number * steps + 1, (number + 1) * steps + 1):
            yield {"step": step, "loss": None, **HEALTHY, **figures}


def watch(*stretches: Mapping[str, float], **options: Any) -> list[Alarm]:
    watcher = Watcher(Alarms(**{"window_steps": 5, "windows": 1, **options}), SCALE)
    return [alarm for line in series(*stretches) for alarm in watcher.see(line)]


def kinds(*stretches: Mapping[str, float], **options: Any) -> list[str]:
    return [alarm.kind for alarm in watch(*stretches, **options)]


def test_nothing_is_said_of_a_run_that_does_not_change_or_learns() -> None:
    assert kinds({}, {}, {}) == []
    risen = {"reward": 0.9, "rewards/accuracy/mean": 0.95, "rewards/format/mean": 1.0, "watch/correct": 0.9,
             "watch/well_formed": 1.0, "watch/words": 20.0, "watch/evidence_share": 0.3, "watch/equal_groups": 0.95,
             "watch/group_spread": 0.01, "watch/shortfall": 0.05}  # fmt: skip
    assert kinds({}, {name: (HEALTHY[name] + value) / 2 for name, value in risen.items()}, risen, risen) == []


@pytest.mark.parametrize(
    ("kind", "before", "now", "just_not"),
    [
        ("reward_without_correctness", {}, {"reward": 0.51}, {"reward": 0.49}),
        ("reward_without_correctness", {}, {"reward": 0.6, "watch/correct": 0.41}, {"reward": 0.6, "watch/correct": 0.43}),
        ("part_saturated", {}, {"rewards/format/mean": 0.98}, {"rewards/format/mean": 0.97}),
        ("part_saturated", {"rewards/format/mean": 0.88}, {"rewards/format/mean": 0.99}, {"rewards/format/mean": 0.99, "watch/correct": 0.5}),
        ("length_drift", {}, {"watch/words": 80.0}, {"watch/words": 79.0}),
        ("length_drift", {}, {"watch/words": 20.0}, {"watch/words": 21.0}),
        ("evidence_drift", {}, {"watch/evidence_share": 0.2}, {"watch/evidence_share": 0.19}),
        ("evidence_drift", {}, {"watch/evidence_share": 0.0}, {"watch/evidence_share": 0.06}),
        ("format_without_correctness", {"watch/correct": 0.05}, {"watch/well_formed": 0.9, "watch/correct": 0.05},
         {"watch/well_formed": 0.9, "watch/correct": 0.11}),
        ("repeated_quote", {}, {"watch/repeated_quote": 0.5}, {"watch/repeated_quote": 0.49}),
        ("group_collapse", {}, {"watch/equal_groups": 0.9}, {"watch/equal_groups": 0.89}),
        ("group_collapse", {}, {"watch/equal_groups": 0.9}, {"watch/equal_groups": 0.9, "watch/shortfall": 0.05}),
        ("variance_collapse", {}, {"watch/group_spread": 0.04}, {"watch/group_spread": 0.05}),
        ("variance_collapse", {}, {"watch/group_spread": 0.0}, {"watch/group_spread": 0.0, "watch/shortfall": 0.05}),
    ],
)  # fmt: skip
def test_each_rule_fires_at_its_threshold_and_not_below(
    kind: str, before: dict[str, float], now: dict[str, float], just_not: dict[str, float]
) -> None:
    alarms = watch(before, now)
    assert [alarm.kind for alarm in alarms] == [kind]
    assert alarms[0].step == 10
    figure = next(iter(now))
    assert alarms[0].now[figure] == pytest.approx(now[figure])
    assert alarms[0].then[figure] == pytest.approx({**HEALTHY, **before}[figure])
    assert kinds(before, just_not) == []


def test_the_part_that_is_paid_for_the_rise_is_named_by_what_it_adds() -> None:
    alarm = watch({}, {"reward": 0.76, "rewards/accuracy/mean": 0.7, "rewards/format/mean": 0.9})[0]
    assert alarm.part == "accuracy"  # 0.7 * 0.3 against 0.3 * 0.5
    assert alarm.message == (
        "the reward rose from 0.4 to 0.76, but correctness went from 0.4 to 0.4; most of it comes from part accuracy"
    )
    assert json.loads(json.dumps(alarm.now)) == alarm.now


def test_a_part_with_a_negative_weight_is_saturated_at_its_least() -> None:
    watcher = Watcher(Alarms(window_steps=5, windows=1), Scale({"format": (-0.5, -1.0, 1.0)}))
    found = [watcher.see(line) for line in series({"rewards/format/mean": 0.0}, {"rewards/format/mean": -0.99})]
    assert [(alarm.kind, alarm.part) for alarm in found[-1]] == [("part_saturated", "format")]


def test_what_was_never_there_can_neither_drift_nor_collapse() -> None:
    assert kinds({"watch/evidence_share": 0.005}, {"watch/evidence_share": 0.3}) == []  # learns to quote at all
    assert kinds({"watch/group_spread": 0.01}, {"watch/group_spread": 0.001}) == []
    assert (
        kinds({"watch/correct": 0.4}, {"watch/correct": 0.05, "watch/well_formed": 1.0}) == []
    )  # not for want of skill


def test_thresholds_are_those_of_the_options() -> None:
    risen = {"reward": 0.6}
    assert kinds({}, risen, min_rise=0.3) == []
    assert kinds({}, {**risen, "watch/correct": 0.45}, max_gain=0.1) == ["reward_without_correctness"]
    assert kinds({}, {"watch/words": 60.0}, drift_factor=1.4) == ["length_drift"]
    assert kinds({}, {"watch/repeated_quote": 0.3}, repeated_at=0.3) == ["repeated_quote"]


def test_an_alarm_needs_so_many_stretches_in_a_row_and_comes_once_while_it_lasts() -> None:
    bad = {"watch/repeated_quote": 0.8}
    assert [alarm.step for alarm in watch({}, bad, bad, bad, bad, windows=2)] == [15]
    assert [alarm.step for alarm in watch({}, bad, {}, bad, {}, windows=2)] == []
    assert [alarm.step for alarm in watch(bad, {}, bad, windows=1)] == [5, 15]


def test_one_lucky_stretch_makes_no_alarm() -> None:
    """Correctness rises throughout, but one stretch of few rows looked as good as what came later."""
    right = [0.1, 0.4, 0.3, 0.41]
    paid = [0.2, 0.25, 0.35, 0.5]
    found = kinds(*({"watch/correct": c, "reward": r} for c, r in zip(right, paid, strict=True)))
    assert found == []


def test_a_probe_is_what_counts_where_there_is_one() -> None:
    """The training rows are learned by heart, and the held-out ones are answered as badly as before."""

    def lines(held_out_right: float, held_out_reward: float) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for line in series({}, {"reward": 0.8, "watch/correct": 0.8}):
            made.append(line)
            if line["step"] % 5 == 0:
                late = line["step"] == 10
                made.append({
                    "step": line["step"], "eval_watch/correct": held_out_right if late else 0.4,
                    "eval_reward": held_out_reward if late else 0.4, "eval_reward_std": 0.3,
                })  # fmt: skip
        return made

    def found(*figures: float) -> list[str]:
        watcher = Watcher(Alarms(window_steps=5, windows=1, probe=PROBE), SCALE)
        return [alarm.kind for line in lines(*figures) for alarm in watcher.see(line)]

    assert found(0.4, 0.6) == ["reward_without_correctness"]
    assert found(0.4, 0.4) == ["held_out_behind"]
    assert found(0.7, 0.7) == []


def test_a_stretch_is_judged_when_its_probe_is_in() -> None:
    watcher = Watcher(Alarms(window_steps=5, windows=1, probe=PROBE), SCALE)
    for line in series({}, {"watch/repeated_quote": 0.9}):
        assert watcher.see(line) == []
        if line["step"] % 5 == 0:
            alarms = watcher.see({"step": line["step"], "eval_watch/correct": 0.4, "eval_reward": 0.4})
    assert [alarm.step for alarm in alarms] == [10]


@pytest.mark.parametrize("cut_at", [1, 7, 10, 13])
def test_a_resumed_run_gives_the_alarms_that_it_would_have_given(cut_at: int) -> None:
    lines = list(series({}, {"reward": 0.6}, {"reward": 0.7, "watch/words": 90.0}, {"watch/equal_groups": 1.0}))
    options = Alarms(window_steps=5, windows=2, stop=False)
    whole, resumed = Watcher(options, SCALE), Watcher(options, SCALE)
    alarms = [alarm for line in lines for alarm in whole.see(line)]
    assert alarms
    before = [alarm for line in json.loads(json.dumps(lines[:cut_at])) for alarm in resumed.see(line)]
    assert before + [alarm for line in lines[cut_at:] for alarm in resumed.see(line)] == alarms


def test_lines_that_come_every_few_steps_are_judged_all_the_same() -> None:
    watcher = Watcher(Alarms(window_steps=25, windows=1), SCALE)
    reward = {10: 0.4, 20: 0.4, 30: 0.9, 40: 0.9, 50: 0.9}
    found = [
        alarm for step, value in reward.items() for alarm in watcher.see({**HEALTHY, "step": step, "reward": value})
    ]
    assert [(alarm.step, alarm.then["reward"], alarm.now["reward"]) for alarm in found] == [(50, 0.4, 0.9)]


def test_what_is_not_known_is_not_judged() -> None:
    watcher = Watcher(Alarms(window_steps=1, windows=1), SCALE)
    for step, reward in enumerate((0.1, 0.5, 0.9), start=1):
        assert watcher.see({"step": step, "reward": reward, "watch/correct": None}) == []
    assert means([{"step": 1, "kl": float("nan"), "epoch": True}]) == {"epoch": 1.0}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"window_step": 3}, "alarms.window_step: no such key. Did you mean 'window_steps'?"),
        ({"probe": {"source": {"format": "records"}, "row": 3}}, "alarms.probe.row: no such key. Did you mean 'rows'?"),
        ({"probe": {"rows": 3}}, "alarms.probe.source: is None, but must be a source of its own"),
        ({"probe": 3}, "alarms.probe: is 3, but must be a mapping"),
        ({"probe": {"source": {"format": "records"}, "every_steps": 50}}, "every_steps: is 50, but a stretch of 25 steps"),
        ({"windows": 0}, "alarms.windows: is 0, but must be a whole number of at least 1."),
        ({"min_rise": -0.1}, "alarms.min_rise: is -0.1, but must be a number of at least 0."),
        ({"min_rise": "much"}, "alarms.min_rise: is 'much'"),
        ({"repeated_at": 50}, "alarms.repeated_at: is 50, but is a share"),
        ({"drift_factor": 1}, "alarms.drift_factor: is 1, but must be greater than 1"),
        ({"stop": "yes"}, "alarms.stop: is 'yes', but must be true or false."),
        ({"correct": {"use": "token_f1", "weight": 1}}, "alarms.correct: is"),
        ("off", "alarms: is 'off', but must be a mapping of keys to values, or false for none."),
    ],
)  # fmt: skip
def test_a_wrong_section_is_refused_with_path_rule_and_nearest_name(section: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Alarms.from_config(section)
    assert message in str(caught.value)
