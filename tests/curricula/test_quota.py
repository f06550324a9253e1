from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from curricula.quota import quotas

share = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.0, 1.0, 0.1, 1 / 3, 1e-9, 0.5, 3.0]))


@st.composite
def share_tables(draw):
    """Shares of up to nine sources over up to thirty steps: any, or one row throughout."""
    sources, steps = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    row = st.lists(share, min_size=sources, max_size=sources).filter(lambda r: sum(r) > 1e-6)
    if draw(st.booleans()):
        return [draw(row)] * steps
    return draw(st.lists(row, min_size=steps, max_size=steps))


@settings(deadline=None, max_examples=200)
@given(share_tables(), st.integers(1, 7))
def test_every_source_stays_within_the_proven_bound_at_every_step(table, per_step):
    k = len(table[0])
    bound = 0 if k == 1 else 1 - Fraction(1, 2 * k - 2)
    target, drawn = [Fraction(0)] * k, [0] * k
    for row, counts in zip(table, quotas(table, per_step), strict=True):
        assert sum(counts) == per_step
        assert min(counts) >= 0
        total = sum(map(Fraction, row))
        for source in range(k):
            target[source] += per_step * Fraction(row[source]) / total
            drawn[source] += counts[source]
            assert abs(drawn[source] - target[source]) <= bound + Fraction(1, 10**9)
            assert drawn[source] == 0 or target[source] > 0


def test_many_sources_with_a_moving_mix_stay_below_one_row():
    k, steps = 60, 300
    table = [[(7 * source) % 11 + step * ((5 * source) % 13) / 40 for source in range(k)] for step in range(steps)]
    drawn, target = [0] * k, [0.0] * k
    for row, counts in zip(table, quotas(table, per_step=5), strict=True):
        for source in range(k):
            drawn[source] += counts[source]
            target[source] += 5 * row[source] / sum(row)
            assert abs(drawn[source] - target[source]) < 1


def test_no_count_falls_where_largest_remainders_would_make_one():
    """Shares 6:6:2, the Alabama paradox: rounded on their own, 10 rows give the third source 2 and 11 rows give it 1."""

    def rounded_on_its_own(rows):
        targets = [rows * weight / 14 for weight in (6, 6, 2)]
        counts = [int(target) for target in targets]
        by_remainder = sorted(range(3), key=lambda source: counts[source] - targets[source])
        for source in by_remainder[: rows - sum(counts)]:
            counts[source] += 1
        return counts

    assert (rounded_on_its_own(10)[2], rounded_on_its_own(11)[2]) == (2, 1)
    counts = list(quotas([[6, 6, 2]] * 14, per_step=1))
    assert all(min(row) >= 0 for row in counts)
    assert [sum(column) for column in zip(*counts, strict=True)] == [6, 6, 2]


def test_float_noise_neither_adds_nor_loses_a_row():
    ten_thirds = list(quotas([[0.1] * 10] * 1000, per_step=1))
    assert [sum(column) for column in zip(*ten_thirds, strict=True)] == [100] * 10


def test_every_step_is_full_where_targets_fall_between_two_counts():
    for share in (0.1, 0.3, 1 / 6, 0.05, 0.7):
        counts = list(quotas([[share, 1 - share]] * 200, per_step=1))
        assert all(sum(row) == 1 for row in counts)


def test_a_source_waits_for_its_share():
    counts = list(quotas([[1, 0, 0]] * 5 + [[0, 1, 0]] * 5, per_step=3))
    assert counts == [[3, 0, 0]] * 5 + [[0, 3, 0]] * 5


def test_a_longer_run_with_the_same_shares_begins_with_the_shorter():
    for shares, per_step in (([1, 3, 7, 5, 5], 2), ([11, 7, 2, 3], 3), ([7, 1, 3, 5], 2), ([11, 11, 1, 7, 5], 3)):
        long = list(quotas([shares] * 40, per_step))
        for steps in range(1, 40):
            assert list(quotas([shares] * steps, per_step)) == long[:steps]


def test_no_steps_give_no_counts():
    assert list(quotas([], per_step=3)) == []
