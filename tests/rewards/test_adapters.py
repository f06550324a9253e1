"""A composed reward as TRL's functions: names, columns, one scoring a batch, and the same totals as offline."""

from __future__ import annotations

import json
import logging
import math
import pickle
from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import RewardError, RowError, Sample, care_format, for_trl, presets, reward, token_f1, weighted
from rewards.adapters import completion_text, samples_from_columns
from rewards.testing import samples as drawn_samples

GOOD = "<think><retrieval>Emma is by Jane Austen.</retrieval></think> Answer: Jane Austen"
COLUMNS = {
    "id": ["q1", "q2"],
    "task": ["care", "care"],
    "context": [[{"title": "Emma", "text": "Emma is by Jane Austen."}], [{"title": None, "text": "Nothing."}]],
    "golds": [["Jane Austen"], ["42"]],
    "evidence": [None, []],
    "time_range": [None, [None, None]],
    "sessions": [None, None],
    "extra": [None, '{"level": "hard"}'],
}


@dataclass
class counting:
    """Counts its calls; gives the length of the completion in tens."""

    calls: int = 0

    def __call__(self, sample):
        self.calls += 1
        return len(sample.completion) / 10


@reward(applies=lambda sample: bool(sample.evidence))
def labelled(sample):
    return 1.0


def fails_on_b(sample):
    if sample.completion == "b":
        raise ValueError("no b")
    return 0.5


def call(functions, completions, prompts=None, **columns):
    prompts = prompts or ["p"] * len(completions)
    return [function(prompts=prompts, completions=completions, **columns) for function in functions]


class Log(defaultdict):
    def __init__(self):
        super().__init__(list)

    def __call__(self, name, value):
        self[name].append(value)


def test_functions_have_the_callers_names_and_weights():
    functions, weights = for_trl(presets.care())
    assert [function.__name__ for function in functions] == ["accuracy", "format", "grounding"]
    assert weights == [0.7, 0.1, 0.2]
    two = for_trl(weighted(first=(1.0, token_f1()), second=(0.5, token_f1())))[0]
    assert [function.__name__ for function in two] == ["first", "second"]
    with pytest.raises(RewardError, match="token_f1, but needs a composed reward"):
        for_trl(token_f1())


def test_columns_from_arrow_are_scored_in_order():
    functions, _ = for_trl(presets.care())
    accuracy, form, grounding = call(functions, [GOOD, GOOD], **COLUMNS)
    assert (accuracy, form, grounding) == ([1.0, 0.0], [1.0, 1.0], [1.0, 0.0])


def test_conversations_and_plain_text_earn_the_same():
    functions, _ = for_trl(presets.care())
    chat = [[{"role": "assistant", "content": text}] for text in (GOOD, "no")]
    prompts = [[{"role": "user", "content": "Who?"}]] * 2
    assert call(functions, chat, prompts, **COLUMNS) == call(functions, [GOOD, "no"], **COLUMNS)


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        ([{"role": "assistant", "content": "one"}], "one"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "b"}], "a\nb"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "assistant", "reasoning_content": "so", "content": "Answer: x"}], "<think>so</think>Answer: x"),
        ([{"role": "assistant", "thinking": "so", "content": "Answer: x"}], "<think>so</think>Answer: x"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_text_of_every_form_of_completion(completion, text):
    assert completion_text(completion) == text


def test_a_batch_is_scored_once_and_observed_once():
    part = counting()
    seen = []
    composed = weighted(a=(1.0, part), b=(1.0, care_format()))
    functions, _ = for_trl(composed, observe=lambda samples, scores, context: seen.append((samples, scores, context)))
    log = Log()
    for batch in (["x", "yy"], ["zzz"]):
        call(functions, batch, id=["1", "2"][: len(batch)], trainer_state="state", log_metric=log, completion_ids=[[1]])
    assert part.calls == 3
    assert [[sample.completion for sample in samples] for samples, _, _ in seen] == [["x", "yy"], ["zzz"]]
    samples, scores, context = seen[0]
    assert scores == composed.batch(samples)
    assert context == {"trainer_state": "state", "log_metric": log, "completion_ids": [[1]]}
    assert samples[0].columns == {}


def test_a_list_that_is_used_again_with_other_contents_is_scored_again():
    functions, _ = for_trl(weighted(a=(1.0, counting()), b=(1.0, counting())))
    batch = ["x"]
    assert call(functions, batch) == [[0.1], [0.1]]
    batch[0] = "xxxxx"
    assert call(functions, batch) == [[0.5], [0.5]]


def test_rates_are_logged_under_the_part():
    log = Log()
    composed = weighted(a=(1.0, labelled), b=(1.0, fails_on_b), on_error="abstain")
    call(for_trl(composed)[0], ["a", "b", "c", "d"], evidence=[["e"], [], [], []], log_metric=log)
    assert log == {
        "rewards/a/none_rate": [0.75],
        "rewards/a/error_rate": [0.0],
        "rewards/b/none_rate": [0.25],
        "rewards/b/error_rate": [0.25],
    }
    log = Log()
    call(for_trl(weighted(a=(1.0, labelled)))[0], ["a"], log_metric=log)
    assert log == {"rewards/a/none_rate": [1.0]}


def test_the_first_failure_of_an_abstaining_part_is_reported_once(caplog):
    functions, _ = for_trl(weighted(b=(1.0, fails_on_b), on_error="abstain"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            call(functions, ["b", "b"], id=["q1", "q2"])
    assert [record.getMessage() for record in caplog.records] == [
        "reward 'b' (fails_on_b) failed on row q1: ValueError: no b (it abstains; further failures are only counted)"
    ]


def test_errors_name_part_and_row():
    with pytest.raises(RewardError, match=r"'b' \(fails_on_b\) failed on row q2: ValueError: no b"):
        call(for_trl(weighted(b=(1.0, fails_on_b)))[0], ["a", "b"], id=["q1", "q2"])
    with pytest.raises(RowError, match=r"needs golds, but row q1 has none \(it has: id, answer\)"):
        call(for_trl(weighted(a=(1.0, token_f1())))[0], ["a"], id=["q1"], answer=["x"])


def test_columns_may_have_other_names():
    functions, _ = for_trl(weighted(a=(1.0, token_f1())), columns={"golds": "answer", "context": "passages"})
    assert call(functions, [GOOD], answer=["Jane Austen"], passages=[["Emma is by Jane Austen."]]) == [[1.0]]
    with pytest.raises(
        RewardError, match=r"maps 'golds' to 'answer', but the data set has no such column; it has: id, gold\."
    ):
        call(functions, [GOOD], id=["q1"], gold=["x"], trainer_state=None)


def test_nulls_are_absent_and_extra_columns_are_unpacked():
    first, second = samples_from_columns(["p", "p"], ["a", "b"], COLUMNS)
    assert (first.columns, second.columns) == ({}, {"level": "hard"})
    assert (first.time_range, second.time_range) == (None, (None, None))
    assert second.context[0].title == ""
    odd = samples_from_columns(["p"] * 3, ["c"] * 3, {"extra": ["not JSON", "[1]", "7"]})
    assert [sample.columns for sample in odd] == [{"extra": "not JSON"}, {"extra": "[1]"}, {"extra": "7"}]


def test_trl_functions_get_what_trl_gave():
    seen = {}

    def spy(prompts, completions, golds, trainer_state, completion_ids, **columns):
        seen.update(prompts=prompts, completions=completions, golds=golds, state=trainer_state, ids=completion_ids)
        return [0.5] * len(completions)

    prompts = [[{"role": "user", "content": "Q"}]]
    chat = [[{"role": "assistant", "content": "A"}]]
    functions, _ = for_trl(weighted(a=(1.0, spy)))
    assert call(functions, chat, prompts, golds=[["x"]], trainer_state="s", completion_ids=[[7]]) == [[0.5]]
    assert seen == {"prompts": prompts, "completions": chat, "golds": [["x"]], "state": "s", "ids": [[7]]}


def test_functions_pickle_one_by_one_and_together():
    functions, _ = for_trl(presets.care())
    expected = call(functions, [GOOD, "no"], **COLUMNS)
    assert call([pickle.loads(pickle.dumps(function)) for function in functions], [GOOD, "no"], **COLUMNS) == expected
    together = pickle.loads(pickle.dumps(functions))
    assert call(together, [GOOD, "no"], **COLUMNS) == expected
    assert len({id(function._scorer) for function in together}) == 1
    assert [function.__name__ for function in together] == ["accuracy", "format", "grounding"]


def as_columns(rows):
    """Rows as Arrow gives them: every field, nested plain values, null where there is nothing."""
    record = {
        name: [json.loads(json.dumps(getattr(row, name), default=vars)) or None for row in rows]
        for name in (
            "id",
            "task",
            "kind",
            "question",
            "context",
            "golds",
            "evidence",
            "sessions",
            "time_range",
            "asked_at",
        )
    }
    return {**record, "hops": [None] * len(rows), "extra": [None] * len(rows)}


@pytest.mark.parametrize("name", ["care", "memory_t1"])
def test_the_training_total_is_the_offline_total(name):
    torch = pytest.importorskip("torch")
    composed = presets.PRESETS[name]()
    functions, weights = for_trl(composed)

    @settings(deadline=None, max_examples=25)
    @given(st.lists(drawn_samples(name), min_size=1, max_size=4))
    def check(rows):
        columns = call(functions, [row.completion for row in rows], **as_columns(rows))
        values = [[math.nan if value is None else value for value in column] for column in columns]
        table = torch.tensor(values, dtype=torch.float32).T
        totals = (table * torch.tensor(weights)).nansum(dim=1)
        for row, total, line in zip(rows, totals.tolist(), table, strict=True):
            score = composed(row)
            assert (score.total is None) == bool(line.isnan().all())
            if score.total is not None:
                assert total == pytest.approx(score.total, abs=1e-6)

    check()


def test_a_row_to_which_nothing_applies_has_no_total_here_and_there():
    composed = weighted(a=(1.0, labelled))
    assert call(for_trl(composed)[0], ["x"]) == [[None]]
    assert composed(Sample(completion="x")).total is None
