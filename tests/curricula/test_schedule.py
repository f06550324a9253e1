import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curricula import constant, from_config, linear, piecewise

EASY, MIXED = {"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5}


def test_linear_is_the_published_formula_at_every_step():
    schedule = linear(EASY, MIXED)
    for step in range(40):
        assert schedule.shares(step, 40)["hard"] == min(0.5, 0.0 + (0.5 - 0.0) * step / 40)
    assert schedule.shares(0, 40) == EASY
    assert schedule.shares(39, 40)["hard"] == 0.5 * 39 / 40
    assert schedule.shares(40, 40) == schedule.shares(10_000, 40) == MIXED


def test_until_shortens_the_line_and_then_holds():
    by_step, by_fraction = linear(EASY, MIXED, until=10), linear(EASY, MIXED, until=0.25)
    for step in range(40):
        assert by_step.shares(step, 40)["hard"] == min(0.5, 0.5 * step / 10)
        assert by_fraction.shares(step, 40) == by_step.shares(step, 40)


def test_until_behind_the_end_keeps_the_slope():
    assert linear(EASY, MIXED, until=100).shares(9, 10)["hard"] == 0.5 * 9 / 100


named = st.lists(st.floats(0, 50), min_size=1, max_size=9).filter(lambda s: sum(s) > 1e-6)


@settings(deadline=None, max_examples=80)
@given(named, st.data(), st.integers(1, 60))
def test_any_number_of_sources_moves_in_straight_lines_that_sum_to_one(start, data, steps):
    end = data.draw(
        st.lists(st.floats(0, 50), min_size=len(start), max_size=len(start)).filter(lambda s: sum(s) > 1e-6)
    )
    names = [f"s{n}" for n in range(len(start))]
    schedule = linear(dict(zip(names, start, strict=True)), dict(zip(names, end, strict=True)))
    for step in range(steps):
        shares = schedule.shares(step, steps)
        assert list(shares) == names
        assert min(shares.values()) >= 0
        assert math.isclose(sum(shares.values()), 1.0, rel_tol=1e-12)
        for name, a, b in zip(names, start, end, strict=True):
            first, last = a / math.fsum(start), b / math.fsum(end)
            assert math.isclose(shares[name], first + (last - first) * step / steps, abs_tol=1e-12)


def test_linear_and_constant_are_special_cases_of_piecewise():
    line, knots = linear(EASY, MIXED), piecewise([(0.0, EASY), (1.0, MIXED)])
    held = piecewise([(0.3, MIXED)])
    for step in range(20):
        assert line.shares(step, 20) == knots.shares(step, 20)
        assert constant({"easy": 2, "hard": 2}).shares(step, 20) == held.shares(step, 20) == MIXED


def test_knots_hold_outside_and_two_at_one_point_jump():
    schedule = piecewise([(2, EASY), (4, MIXED), (6, MIXED), (6, {"easy": 0, "hard": 1})])
    assert [schedule.shares(step, 9)["hard"] for step in range(9)] == [0, 0, 0, 0.25, 0.5, 0.5, 1, 1, 1]


def test_a_step_and_a_fraction_of_the_same_value_differ():
    assert linear(EASY, MIXED, until=1) != linear(EASY, MIXED, until=1.0)
    assert linear(EASY, MIXED, until=1.0) == linear(EASY, MIXED)


@pytest.mark.parametrize("schedule", [linear(EASY, MIXED), constant(MIXED), piecewise([(0, EASY), (9, MIXED)])])
def test_schedules_pickle_hash_and_cannot_be_changed(schedule):
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    with pytest.raises(AttributeError):
        schedule.knots = ()


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, -math.inf, True, "0.5", None])
def test_a_share_that_is_no_share_is_refused_with_its_path(bad):
    for make in (lambda s: linear(s, MIXED), lambda s: linear(MIXED, s), constant, lambda s: piecewise([(0, s)])):
        with pytest.raises(ValueError, match=r"\.hard: .* is not a finite number .* Give a share") as error:
            make({"easy": 1.0, "hard": bad})
        assert repr(bad) in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant({"easy": 0, "hard": 0.0}), "shares: every share is 0 .* Give one source"),
        (lambda: constant({}), "shares: {} is not a mapping"),
        (lambda: constant([1, 2]), r"shares: \[1, 2\] is not a mapping"),
        (lambda: linear(EASY, {"easy": 1, "hrad": 1}), "end: 'hrad' is not a source; .* Did you mean 'hard'"),
        (lambda: linear(EASY, {"easy": 1}), "end: 'hard' .* no share here, .* Add hard: 0.0"),
        (lambda: linear(EASY, MIXED, until=0), "until: 0 leaves no steps"),
        (lambda: linear(EASY, MIXED, until=0.0), "until: 0.0 leaves no steps"),
        (lambda: linear(EASY, MIXED, until=-5), "until: -5 is neither a step"),
        (lambda: linear(EASY, MIXED, until=1.5), "until: 1.5 is neither a step"),
        (lambda: linear(EASY, MIXED, until=math.nan), "until: nan is neither a step"),
        (lambda: linear(EASY, MIXED, until=True), "until: True is neither a step"),
        (lambda: piecewise([]), r"knots: \[\] is not a list of \[point, shares\] pairs"),
        (lambda: piecewise({"0": EASY}), "knots: .* is not a list"),
        (lambda: piecewise([(0, EASY), 5]), r"knots\[1\]: 5 is not a \[point, shares\] pair"),
        (lambda: piecewise([(0, EASY), (9, MIXED), (3, EASY)]), r"knots\[2\]: step 3 comes after step 9"),
        (lambda: piecewise([(0.5, EASY), (4, EASY), (0.4, MIXED)]), r"knots\[2\]: fraction 0.4 .* after fraction 0.5"),
        (lambda: piecewise([(0, EASY), (1, {"easy": 1})]), r"knots\[1\]: 'hard'"),
        (lambda: constant(MIXED).shares(-1, 10), "step -1 of 10"),
        (lambda: constant(MIXED).shares(0, 0), "step 0 of 0"),
        (
            lambda: piecewise([(0.5, EASY), (1, MIXED)]).shares(0, 100),
            "step 1 comes before fraction 0.5 .* 1.0 the end",
        ),
    ],
)
def test_messages_name_the_place_and_the_way_out(make, message):
    with pytest.raises(ValueError, match=message):
        make()


CONFIGS = [
    ({"kind": "linear", "start": EASY, "end": MIXED}, linear(EASY, MIXED)),
    ({"kind": "linear", "start": EASY, "end": MIXED, "until": 7}, linear(EASY, MIXED, until=7)),
    ({"kind": "linear", "start": EASY, "end": MIXED, "until": None}, linear(EASY, MIXED)),
    ({"kind": "constant", "shares": MIXED}, constant(MIXED)),
    ({"kind": "piecewise", "knots": [[0.0, EASY], [0.5, MIXED]]}, piecewise([(0.0, EASY), (0.5, MIXED)])),
]


@pytest.mark.parametrize(("config", "schedule"), CONFIGS)
def test_a_config_gives_what_python_gives(config, schedule):
    assert from_config(config, ["easy", "hard"]) == schedule


def test_one_source_needs_no_curriculum():
    assert from_config(None, ["only"]).shares(3, 5) == {"only": 1.0}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "^curriculum: missing, while there are 2 sources .*kind: constant, shares: {easy: 1, hard: 1}"),
        ("linear", "^curriculum: 'linear' is not a mapping"),
        ({"start": EASY}, "^curriculum.kind: None is not a kind"),
        ({"kind": ["linear"]}, "^curriculum.kind: .* is not a kind"),
        ({"kind": "liner"}, "^curriculum.kind: 'liner' .* Did you mean 'linear'"),
        ({"kind": "linear", "start": EASY, "ned": MIXED}, "^curriculum.ned: .* no effect; .* Did you mean 'end'"),
        ({"kind": "linear", "start": EASY}, "^curriculum.end: missing"),
        ({"kind": "constant", "shares": MIXED, "until": 5}, "^curriculum.until: a constant schedule has no such key"),
        ({"kind": "linear", "start": {"easy": 1, "hrad": 0}, "end": MIXED}, "^curriculum.start: 'hrad' .*'hard'"),
        ({"kind": "linear", "start": EASY, "end": {"easy": 1}}, "^curriculum.end: 'hard' is among the sources"),
        ({"kind": "constant", "shares": {"easy": 1, "hard": -1}}, "^curriculum.shares.hard: -1 is not"),
        ({"kind": "constant", "shares": 3}, "^curriculum.shares: 3 is not a mapping"),
        ({"kind": "linear", "start": EASY, "end": MIXED, "until": "half"}, "^curriculum.until: 'half' is neither"),
        ({"kind": "piecewise", "knots": [[0, {"easy": 1, "hurd": 1}]]}, r"^curriculum.knots\[0\]: 'hurd' .*'hard'"),
        ({"kind": "piecewise", "knots": {0: EASY}}, "^curriculum.knots: .* is not a list"),
    ],
)
def test_a_wrong_config_is_refused_with_its_path(config, message):
    with pytest.raises(ValueError, match=message):
        from_config(config, ["easy", "hard"])
