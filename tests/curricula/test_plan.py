import math
import os
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricula import Draw, Plan, constant, linear, piecewise, plan

ROOT = Path(__file__).resolve().parents[2]
RAMP = linear({"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5})
SIZES = {"easy": 70, "hard": 30}


def small(seed=7, steps=25, sizes=SIZES, schedule=RAMP, per_step=8):
    return plan(schedule, sizes, steps=steps, per_step=per_step, seed=seed)


class Cosine:
    """A schedule of a user's own."""

    def shares(self, step, steps):
        hard = (1 - math.cos(math.pi * step / steps)) / 2
        return {"easy": 1 - hard, "hard": hard}


class Fixed:
    def __init__(self, *shares):
        self.table = shares

    def shares(self, step, steps):
        return self.table[min(step, len(self.table) - 1)]


positive = st.floats(0.01, 10)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=7), st.integers(1, 60), st.integers(1, 20))
def test_the_realised_share_is_within_one_row_of_the_formula_at_every_step(ends, steps, per_step):
    names = [f"source {n}" for n in range(len(ends))]
    start, end = ({name: pair[side] for name, pair in zip(names, ends, strict=True)} for side in (0, 1))
    order = plan(linear(start, end), dict.fromkeys(names, 9), steps, per_step, seed=1)
    target = dict.fromkeys(names, 0.0)
    drawn: Counter[str] = Counter()
    for step in range(steps):
        drawn.update(draw.source for draw in order.at(step))
        assert drawn.total() == (step + 1) * per_step
        assert {name: drawn[name] for name in names} == order.realised(step)
        for name in names:
            a, b = start[name] / sum(start.values()), end[name] / sum(end.values())
            target[name] += per_step * (a + (b - a) * step / steps)
            assert abs(drawn[name] - target[name]) < 1


def test_nothing_comes_again_before_its_source_is_used_up():
    order = small(steps=100)
    passes = {}
    for name, size in SIZES.items():
        rows = [draw.index for draw in order if draw.source == name]
        assert len(rows) > 2 * size
        turns = [rows[start : start + size] for start in range(0, len(rows), size)]
        for turn in turns[:-1]:
            assert sorted(turn) == list(range(size))
        assert len(set(turns[-1])) == len(turns[-1])
        assert turns[0] != turns[1]
        assert turns[0] != list(range(size))
        passes[name] = turns
    assert passes["easy"][0][:5] != passes["hard"][0][:5]


def test_every_row_is_as_likely_first_as_any_other():
    schedule = constant({"a": 1})
    firsts = Counter(plan(schedule, {"a": 10}, 1, 1, seed)[0].index for seed in range(2000))
    assert set(firsts) == set(range(10))
    assert max(abs(count - 200) for count in firsts.values()) < 60  # over four standard deviations


def test_sources_are_mixed_inside_a_step():
    order = plan(constant({"a": 1, "b": 1}), {"a": 99, "b": 99}, steps=60, per_step=6, seed=3)
    patterns = Counter("".join(draw.source for draw in order.at(step)) for step in range(60))
    assert len(patterns) > 12  # of 20
    places = Counter(place for step in range(60) for place, draw in enumerate(order.at(step)) if draw.source == "a")
    assert max(places.values()) < 2 * min(places.values())


def test_the_same_arguments_give_the_same_plan_in_another_process():
    code = (
        "from curricula import linear, plan\n"
        "ramp = linear({'hard': 0.0, 'easy': 1.0}, {'hard': 0.5, 'easy': 0.5})\n"
        "print(plan(ramp, {'hard': 30, 'easy': 70}, steps=25, per_step=8, seed=7).fingerprint())"
    )
    for hash_seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == small().fingerprint()


def test_the_plan_of_a_known_run_stays_what_it_was():
    """A run stopped under one version must resume under the next; a change here has to raise PLAN_FORMAT."""
    order = plan(linear({"a": 1, "b": 0, "c": 0}, {"a": 1, "b": 1, "c": 2}), {"a": 5, "b": 4, "c": 3}, 6, 3, seed=11)
    drawn = " ".join(f"{draw.source}{draw.index}" for draw in order)
    assert drawn == "a0 a1 a4 a2 a3 a4 c2 a2 a0 b2 a1 a3 a1 a2 c0 b1 a0 c1"
    assert order.fingerprint()[:16] == "9742fc13c96846ca"


def test_the_order_of_the_sources_does_not_matter():
    turned = linear({"hard": 0.0, "easy": 1.0}, {"hard": 0.5, "easy": 0.5})
    assert small(sizes={"hard": 30, "easy": 70}, schedule=turned) == small()


def test_however_it_is_read_a_plan_gives_the_same_draws():
    order = small()
    draws = list(order)
    assert len(draws) == len(order) == 25 * 8
    assert [order[number] for number in range(len(order))] == draws
    assert [draw for step in range(order.steps) for draw in order.at(step)] == draws
    assert order[3:50:7] == tuple(draws[3:50:7])
    assert order[::-1] == tuple(draws[::-1])
    assert order[-1] == draws[-1]
    assert order[-len(order)] == draws[0]
    assert all(draw.step == number // 8 for number, draw in enumerate(draws))
    assert draws[0] == Draw(0, "easy", draws[0].index)


def test_a_resumed_run_draws_what_the_uninterrupted_one_would_have():
    whole, stopped_after = list(small()), 11
    again = pickle.loads(pickle.dumps(small()))
    resumed = [draw for step in range(stopped_after, again.steps) for draw in again.at(step)]
    assert whole[: stopped_after * 8] + resumed == whole


@pytest.mark.parametrize(
    "schedule",
    [
        constant({"easy": 5, "hard": 3}),
        linear({"easy": 1, "hard": 0}, {"easy": 1, "hard": 2}, until=10),
        piecewise([(0, {"easy": 1, "hard": 0}), (6, {"easy": 1, "hard": 4}), (9, {"easy": 2, "hard": 1})]),
    ],
)
def test_a_longer_run_begins_with_the_shorter_one_where_their_shares_agree(schedule):
    long = small(schedule=schedule, steps=60)
    for steps in (11, 12, 37):
        assert list(small(schedule=schedule, steps=steps)) == list(long)[: steps * 8]


def test_the_rows_of_a_source_do_not_depend_on_its_company():
    def rows(order, name):
        return [draw.index for draw in order if draw.source == name]

    alone = plan(constant({"easy": 1}), {"easy": 70}, 25, 8, seed=7)
    assert rows(small(), "easy") == rows(alone, "easy")[: len(rows(small(), "easy"))]


def test_another_seed_size_schedule_or_step_is_another_plan():
    order = small()
    others = [
        small(seed=8),
        small(sizes={"easy": 70, "hard": 31}),
        small(schedule=constant({"easy": 1, "hard": 1})),
        small(steps=26),
        small(steps=50, per_step=4),
    ]
    assert small() == order
    assert hash(small()) == hash(order)
    assert all(other != order for other in others)
    assert len({other.fingerprint() for other in [order, *others]}) == 6
    assert order != list(order)
    same_draws = Plan((("easy", 70), ("hard", 31)), 8, order._codes, order._rows)
    assert same_draws != order
    assert same_draws.fingerprint() != order.fingerprint()


def test_counts_and_totals_agree_with_the_draws():
    order = small()
    for step in (0, 13, 24):
        assert order.counts(step) == {name: [d.source for d in order.at(step)].count(name) for name in SIZES}
    assert order.realised() == order.realised(24) == {name: [d.source for d in order].count(name) for name in SIZES}
    assert order.sizes == SIZES


def test_positions_are_the_rows_of_the_concatenated_sources():
    order = small()
    table = {name: [(name, row) for row in range(size)] for name, size in SIZES.items()}
    for names in (["easy", "hard"], ["hard", "easy"]):
        together = [row for name in names for row in table[name]]
        assert [together[number] for number in order.positions(names)] == [(d.source, d.index) for d in order]
    assert order.positions() == order.positions(["easy", "hard"])


def test_a_dataset_selected_by_positions_is_in_the_plan_s_order():
    datasets = pytest.importorskip("datasets")
    parts = [datasets.Dataset.from_dict({"row": [f"{name} {n}" for n in range(SIZES[name])]}) for name in SIZES]
    order = small()
    chosen = datasets.concatenate_datasets(parts).select(order.positions(list(SIZES)))
    assert chosen["row"][:] == [f"{draw.source} {draw.index}" for draw in order]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["easy"], "not every source once"),
        (["easy", "hard", "hard"], "not every source once"),
        (["easy", "hrad"], "'hrad' is not a source of this plan; .* Did you mean 'hard'"),
    ],
)
def test_positions_refuse_an_order_that_is_not_the_sources(order, message):
    with pytest.raises(ValueError, match=message):
        small().positions(order)


def test_a_schedule_of_ones_own_will_do():
    order = small(schedule=Cosine())
    target = 0.0
    for step in range(25):
        target += 8 * Cosine().shares(step, 25)["hard"]
        assert abs(order.realised(step)["hard"] - target) <= 0.5 + 1e-9


def test_shares_need_not_sum_to_one():
    assert small(schedule=Fixed({"easy": 30.0, "hard": 10.0})) == small(schedule=constant({"easy": 3, "hard": 1}))


def test_a_source_that_is_never_drawn_may_be_empty():
    order = small(schedule=constant({"easy": 1, "hard": 0}), sizes={"easy": 70, "hard": 0})
    assert order.realised() == {"easy": 200, "hard": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": {"easy": 70, "hard": 0}}, "sizes.hard: the source has 0 rows but a share of 0.02 at step 1"),
        ({"sizes": {"easy": 70, "hard": -1}}, "sizes.hard: -1 is no number of rows"),
        ({"sizes": {"easy": 70, "hard": 2.5}}, "sizes.hard: 2.5 is no number of rows"),
        ({"sizes": {"easy": 70, "hard": 2**33}}, "sizes.hard: .* is no number of rows"),
        ({"sizes": {"easy": 70}}, "draws from 'hard', which has no size"),
        ({"sizes": {"easy": 70, "hrad": 30}}, "draws from 'hard', .* Did you mean 'hrad'"),
        ({"sizes": {"easy": 70, "hard": 30, "more": 1}}, "'more' has no share at step 0 .*0.0 if it is not wanted"),
        ({"sizes": {}}, "draws from 'easy', which has no size"),
        ({"steps": 0}, "steps: 0 is not a whole number of at least 1"),
        ({"steps": True}, "steps: True"),
        ({"per_step": 0}, "per_step: 0"),
        ({"per_step": 2.0}, "per_step: 2.0"),
        ({"seed": "7"}, "seed: '7' is not a whole number"),
        ({"schedule": Fixed({"easy": 1, "hard": -0.5})}, "at step 0 are not finite"),
        ({"schedule": Fixed({"easy": 1, "hard": 1}, {"easy": 1, "hard": math.nan})}, "at step 1 are not finite"),
        ({"schedule": Fixed({"easy": 1, "hard": math.inf})}, "at step 0 are not finite"),
        ({"schedule": Fixed({"easy": 0, "hard": 0})}, "at step 0 are not finite numbers >= 0 with one above 0"),
        ({"schedule": Fixed({}), "sizes": {}}, "at step 0 are not finite"),
        ({"schedule": Fixed({"easy": 1, "hard": 1}, {"easy": 1})}, "'hard' has no share at step 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_value_and_place(change, message):
    with pytest.raises(ValueError, match=message):
        small(**change)


@pytest.mark.parametrize("step", [-1, 25])
def test_a_step_outside_the_plan_is_refused(step):
    for read in (small().at, small().counts, small().realised):
        with pytest.raises(IndexError, match="steps 0 to 24"):
            read(step)
    with pytest.raises(IndexError):
        small()[200]


def test_a_plan_cannot_be_changed_and_says_what_it_is():
    order = small()
    with pytest.raises(FrozenInstanceError):
        order.per_step = 1
    assert repr(order) == f"Plan(25 steps x 8 rows of 'easy', 'hard', {order.fingerprint()[:12]})"


def test_a_draw_takes_six_bytes():
    order = plan(constant({"a": 1, "b": 2}), {"a": 5000, "b": 5000}, steps=1000, per_step=64, seed=0)
    assert len(pickle.dumps(order)) < 6 * len(order) + 2000
