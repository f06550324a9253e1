import pytest

from curricula import constant, linear, plan, preview

RAMP = linear({"hard": 0.0, "easy": 1.0}, {"hard": 0.5, "easy": 0.5})
SIZES = {"easy": 1000, "hard": 20}


def seen(steps=100, points=8, schedule=RAMP, sizes=SIZES):
    order = plan(schedule, sizes, steps=steps, per_step=4, seed=1)
    return order, preview(order, schedule, points=points)


def test_rows_are_evenly_spaced_with_the_first_and_the_last_step():
    assert [row.step for row in seen()[1].steps] == [0, 14, 28, 42, 57, 71, 85, 99]
    assert [row.step for row in seen(steps=3)[1].steps] == [0, 1, 2]
    assert [row.step for row in seen(steps=1)[1].steps] == [0]


def test_every_number_agrees_with_the_plan_and_the_schedule():
    order, table = seen()
    for row in table.steps:
        drawn = order.realised(row.step)
        assert row.drawn == drawn
        assert row.planned == RAMP.shares(row.step, 100)
        for name, size in SIZES.items():
            expected = sum(RAMP.shares(step, 100)[name] for step in range(row.step + 1)) / (row.step + 1)
            assert row.target[name] == pytest.approx(expected)
            assert row.realised[name] == drawn[name] / (4 * (row.step + 1))
            assert abs(row.realised[name] - row.target[name]) * 4 * (row.step + 1) < 1
            assert row.passes[name] == drawn[name] / size
    for total in table.sources:
        rows = [draw.index for draw in order if draw.source == total.source]
        assert (total.draws, total.distinct) == (len(rows), len(set(rows)))
        assert (total.size, total.passes) == (SIZES[total.source], len(rows) / SIZES[total.source])


def test_sources_stand_in_the_schedule_s_order():
    table = seen()[1]
    assert [row.source for row in table.sources] == ["hard", "easy"]
    assert list(table.steps[0].drawn) == list(table.steps[0].planned) == ["hard", "easy"]


def test_the_text_is_an_aligned_table():
    lines = str(seen()[1]).splitlines()
    assert len({len(line) for line in lines[:9]}) == 1
    assert lines[0].split("  ")[0] == "step"
    assert lines[10].split() == ["source", "size", "draws", "distinct", "passes"]
    assert lines[11].split() == ["hard", "20", "99", "20", "4.95"]


def test_notes_say_what_a_reader_should_notice():
    assert seen()[1].notes == ()
    late = linear({"easy": 1, "hard": 0}, {"easy": 0, "hard": 1}, until=500)
    (note,) = seen(schedule=late)[1].notes
    assert "ends at step 500, behind the run's 100 steps" in note
    (note,) = seen(schedule=constant({"easy": 1, "hard": 0}), sizes={"easy": 5, "hard": 0})[1].notes
    assert note.startswith("never drawn: 'hard'.")
    assert f"note: {note}" in str(seen(schedule=constant({"easy": 1, "hard": 0}))[1])


def test_shares_of_any_scale_are_shown_as_shares():
    class Weights:
        def shares(self, step, steps):
            return {"easy": 30.0, "hard": 10.0}

    assert seen(schedule=Weights())[1].steps[3].planned == {"easy": 0.75, "hard": 0.25}


def test_one_point_is_refused():
    with pytest.raises(ValueError, match="points: 1 does not hold"):
        seen(points=1)
