"""Weights, totals, maxima and what happens when a part fails."""

from __future__ import annotations

import copy
import functools
import math
import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RewardError, RowError, Sample, for_task, reward, weighted
from rewards.part import is_batch_function


@dataclass(frozen=True)
class fixed:
    """A part that gives the number in the column of its name; `None` where there is none."""

    column: str
    bounds: tuple[float, float] = (0.0, 1.0)

    def applies(self, sample):
        return self.column in sample.columns

    def __call__(self, sample):
        return sample.columns[self.column]


@reward(needs=("golds",))
def right(sample):
    return float(sample.completion in sample.golds)


def explodes(sample):
    raise KeyError("boom")


def trl_length(completions, **columns):
    return [float(len(c)) for c in completions]


def row(**columns):
    return Sample(id="q7", golds="Rome", completion="Rome", columns=columns)


def test_total_is_the_weighted_sum_and_an_absent_part_adds_nothing():
    both = weighted(a=(0.7, fixed("a")), b=(0.3, fixed("b")))
    score = both(row(a=1.0, b=0.5))
    assert (score.total, score.parts, score.maximum) == (0.85, {"a": 1.0, "b": 0.5}, 1.0)
    score = both(row(a=1.0))
    assert (score.total, score.parts, score.maximum) == (0.7, {"a": 1.0, "b": None}, 0.7)
    score = both(row())
    assert (score.total, score.parts, score.maximum) == (None, {"a": None, "b": None}, 0.0)


def test_the_published_weights_add_up_to_exactly_one():
    best = weighted(a=(0.7, fixed("a")), b=(0.1, fixed("b")), c=(0.2, fixed("c")))(row(a=1, b=1, c=1))
    assert best.total == best.maximum == 1.0
    tenths = weighted(**{f"p{i}": (0.1, fixed("a")) for i in range(10)})(row(a=1))
    assert tenths.total == tenths.maximum == 1.0


def test_negative_weights_and_bounds_give_the_true_maximum():
    both = weighted(
        quality=(1.0, fixed("a", bounds=(-1.0, 0.5))),
        penalty=(-0.5, fixed("b", bounds=(0.2, 1.0))),
    )
    assert both.maximum(row(a=0, b=0)) == pytest.approx(0.5 - 0.5 * 0.2)
    assert (both.best("quality", row(a=0)), both.best("penalty", row(b=0)), both.best("penalty", row(a=0))) == (
        0.5,
        0.2,
        0,
    )


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 1) | st.none()), min_size=1, max_size=5).filter(
        lambda pairs: any(weight for weight, _ in pairs)
    )
)
def test_no_completion_earns_more_than_the_maximum(pairs):
    composed = weighted(**{f"p{i}": (weight, fixed(f"p{i}")) for i, (weight, _) in enumerate(pairs)})
    score = composed(row(**{f"p{i}": value for i, (_, value) in enumerate(pairs) if value is not None}))
    if score.total is not None:
        assert score.total <= score.maximum + 1e-12


def test_batch_keeps_order_and_equals_one_by_one():
    composed = weighted(a=(0.5, fixed("a")), right=(0.5, right))
    samples = [row(a=i / 10) for i in range(10)]
    assert composed.batch(samples) == [composed(sample) for sample in samples]
    assert composed.batch([]) == []


@pytest.mark.parametrize("weight", [math.nan, math.inf, True, "0.7", None])
def test_weights_must_be_finite_numbers(weight):
    with pytest.raises(RewardError, match=r"'a'.*weight is .*finite"):
        weighted(a=(weight, right))


def test_all_zero_weights_are_refused_and_one_zero_is_not():
    with pytest.raises(RewardError, match="all weights are zero"):
        weighted(a=(0.0, right), b=(0, right))
    assert weighted(a=(0.0, right), b=(1, right))(row()).total == 1.0


async def waits(sample):
    return 1.0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (right, "must be \\(weight, reward\\)"),
        ((1.0, fixed), r"is a class, not a reward; call it: fixed\(\)"),
        ((1.0, "token_f1"), "cannot be called"),
        ((1.0, waits), "asynchronous"),
        ((1.0, fixed("a", bounds=(1.0, 0.0))), "low <= high"),
        ((1.0, fixed("a", bounds=(0.0, math.inf))), "low <= high"),
        ((1.0, weighted(a=(1, right))), "itself a weighted reward"),
    ],
)
def test_what_is_no_part_is_refused_by_name(pair, message):
    with pytest.raises(RewardError, match=f"'mine'.*{message}"):
        weighted(mine=pair)


def test_a_wrong_on_error_is_refused():
    with pytest.raises(RewardError, match="'ignore', but must be 'raise' or 'abstain'"):
        weighted(on_error="ignore", a=(1.0, right))


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", [1.0], object(), 10**400])
def test_a_value_that_is_no_finite_number_names_part_and_row(value):
    with pytest.raises(RewardError, match=r"'a' \(fixed\) failed on row q7: it returned .*finite number or None"):
        weighted(a=(1.0, fixed("a")))(row(a=value))


def test_numpy_and_torch_scalars_and_booleans_count_as_numbers():
    numpy = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")
    composed = weighted(a=(1.0, fixed("a")))
    for value in (
        True,
        numpy.float32(1),
        numpy.bool_(True),
        torch.tensor(1.0),
        torch.tensor([1.0]),
    ):
        score = composed(row(a=value))
        assert score.parts == {"a": 1.0}
        assert type(score.parts["a"]) is float
    with pytest.raises(RewardError, match="row q7"):
        composed(row(a=torch.tensor([1.0, 2.0])))


def test_a_part_that_raises_is_named_once_with_its_row_and_cause():
    with pytest.raises(RewardError, match=r"^reward 'bad' \(explodes\) failed on row q7: KeyError: 'boom'$") as caught:
        weighted(bad=(1.0, explodes))(row())
    assert isinstance(caught.value.__cause__, KeyError)


def test_abstain_turns_a_failure_into_none_and_keeps_the_message():
    score = weighted(on_error="abstain", bad=(0.4, explodes), right=(0.6, right))(row())
    assert (score.total, score.parts, score.maximum) == (0.6, {"bad": None, "right": 1.0}, 1.0)
    assert list(score.errors) == ["bad"]
    assert "KeyError: 'boom'" in score.errors["bad"]


def leaves(sample):
    raise SystemExit(3)


def interrupted(sample):
    raise KeyboardInterrupt


def test_a_part_that_ends_the_program_is_an_error_and_an_interrupt_is_not():
    with pytest.raises(RewardError, match=r"^reward 'bad' \(leaves\) failed on row q7: SystemExit: 3$"):
        weighted(bad=(1.0, leaves))(row())
    assert list(weighted(on_error="abstain", bad=(1.0, leaves))(row()).errors) == ["bad"]
    with pytest.raises(KeyboardInterrupt):
        weighted(on_error="abstain", bad=(1.0, interrupted))(row())


def test_a_failing_applies_is_an_error_like_any_other():
    class shy:
        def applies(self, sample):
            raise OSError("no")

        def __call__(self, sample):
            return 1.0

    with pytest.raises(RewardError, match=r"'a' \(shy\) failed on row q7: OSError"):
        weighted(a=(1.0, shy()))(row())
    score = weighted(on_error="abstain", a=(1.0, shy()))(row())
    assert (score.total, score.maximum, list(score.errors)) == (None, 0.0, ["a"])


@pytest.mark.parametrize("on_error", ["raise", "abstain"])
@pytest.mark.parametrize("golds", [(), None, "", ["  "], math.nan])
def test_missing_golds_stop_even_an_abstaining_reward(golds, on_error):
    with pytest.raises(RowError, match=r"'accuracy' \(right\) needs golds, but row q7 has none \(it has: .*answer"):
        weighted(on_error=on_error, accuracy=(1.0, right))(Sample(id="q7", golds=golds, columns={"answer": "Rome"}))


def test_a_row_error_raised_inside_a_part_stops_an_abstaining_reward_too():
    def strict(sample):
        raise RowError("time_range is upside down.")

    with pytest.raises(RowError, match=r"'t' \(strict\) failed on row q7: time_range is upside down"):
        weighted(on_error="abstain", t=(1.0, strict))(row())


def test_needs_may_name_a_column_and_never_an_attribute_of_the_sample():
    @reward(needs="care")
    def column(sample):
        return float(sample.columns["care"])

    assert column.needs == ("care",)
    assert weighted(a=(1.0, column))(row(care=0.0)).total == 0.0
    with pytest.raises(RowError, match="needs care"):
        weighted(a=(1.0, column))(row())


def test_needs_are_not_asked_of_rows_that_the_part_does_not_apply_to():
    part = for_task("care", right)
    assert weighted(a=(1.0, part))(Sample(task="memory_t1")).total is None
    assert weighted(a=(1.0, part))(Sample(task="care", golds="B", completion="B")).total == 1.0
    assert part(Sample(task="memory_t1", golds="B", completion="B")) is None


class TestTrlFunctions:
    def test_every_form_is_recognised(self):
        class Judge:
            def __call__(self, prompts, completions, **columns):
                return [1.0] * len(completions)

        partial = functools.partial(lambda completions, bonus, **columns: [bonus] * len(completions), bonus=0.5)
        for function in (trl_length, Judge(), partial):
            assert is_batch_function(function)
        for function in (right, fixed("a"), len, print):
            assert not is_batch_function(function)
        assert weighted(a=(1.0, partial))(row()).total == 0.5

    def test_it_sees_plain_columns_in_the_record_layout(self):
        seen = {}

        def spy(prompts, completions, golds, context, level, trainer_state, **columns):
            seen.update(prompts=prompts, completions=completions, golds=golds, context=context, level=level, **columns)
            return [None] * len(completions)

        chat = [{"role": "user", "content": "Q"}]
        sample = Sample(prompt=chat, completion="A", golds=["x"], context=["p"], columns={"level": "hard"})
        score = weighted(a=(1.0, spy)).batch([sample], trainer_state="state")[0]
        assert score.total is None
        assert seen["completions"] == [[{"role": "assistant", "content": "A"}]]
        assert (seen["prompts"], seen["golds"], seen["level"]) == ([chat], [["x"]], ["hard"])
        assert seen["context"] == [[{"text": "p", "title": ""}]]

    def test_a_column_that_is_not_there_is_named_with_those_that_are(self):
        def needs_answer(completions, answer, **columns):
            return [0.0] * len(completions)

        with pytest.raises(RewardError, match=r"takes the column 'answer', but there are only: .*golds.*level"):
            weighted(a=(1.0, needs_answer))(row(level="hard"))

    @pytest.mark.parametrize(
        ("returned", "message"),
        [([1.0], "1 values for 2"), (None, "None"), ("ab", "'ab'"), ([0.0, math.nan], "for row q2, it returned nan")],
    )
    def test_wrong_counts_and_values_name_part_and_row(self, returned, message):
        def odd(completions, **columns):
            return returned

        samples = [Sample(id="q1"), Sample(id="q2")]
        with pytest.raises(
            RewardError, match=rf"'a' \(odd\) failed on the batch of 2 that starts with row q1: .*{message}"
        ):
            weighted(a=(1.0, odd)).batch(samples)
        scores = weighted(on_error="abstain", a=(1.0, odd)).batch(samples)
        assert [list(score.errors) for score in scores] == [["a"], ["a"]]

    def test_arrays_and_generators_are_taken_as_trl_takes_them(self):
        numpy = pytest.importorskip("numpy")
        torch = pytest.importorskip("torch")
        for values in (numpy.ones(2), torch.ones(2), (v for v in (1, 1))):
            composed = weighted(a=(1.0, lambda completions, values=values, **columns: values))
            assert [score.total for score in composed.batch([row(), row()])] == [1.0, 1.0]

    def test_tags_hold_for_them_too(self):
        @reward(needs=("golds",), applies=lambda sample: sample.kind == "text")
        def tagged(completions, **columns):
            return [1.0] * len(completions)

        composed = weighted(a=(1.0, tagged))
        scores = composed.batch([Sample(kind="text", golds="x"), Sample(kind="time")])
        assert [(score.total, score.maximum) for score in scores] == [(1.0, 1.0), (None, 0.0)]
        with pytest.raises(RowError, match="needs golds"):
            composed(Sample(kind="text"))

    def test_it_cannot_be_kept_to_a_task(self):
        with pytest.raises(RewardError, match="trl_length is a TRL-style batch function"):
            for_task("care", trl_length)


def test_a_reward_cannot_be_changed_and_survives_pickling_and_copying():
    parts = {"a": (0.7, fixed("a")), "right": (0.3, right)}
    composed = weighted(**parts)
    with pytest.raises(TypeError):
        composed.parts["a"] = right  # type: ignore[index]
    with pytest.raises(AttributeError):
        composed.on_error = "abstain"  # type: ignore[misc]
    for same in (pickle.loads(pickle.dumps(composed)), copy.deepcopy(composed)):
        assert same == composed
        assert same(row(a=1.0)) == composed(row(a=1.0))


def test_tags_stay_on_functions_and_classes_as_they_are():
    @reward(bounds=(-1.0, 1.0), applies=lambda sample: bool(sample.evidence))
    @dataclass(frozen=True)
    class near:
        words: int = 3
        needs: ClassVar[tuple[str, ...]] = ()

        def __call__(self, sample):
            return -1.0

    composed = weighted(a=(1.0, near(words=2)))
    assert near(2).words == 2
    assert composed(Sample(evidence="x")).total == -1.0
    assert composed(Sample()).total is None
    with pytest.raises(RewardError, match="low <= high"):
        reward(bounds=(1.0, 0.0))(right)
