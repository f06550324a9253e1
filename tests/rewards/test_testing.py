"""`check_reward` passes good rewards and names the law that a bad one breaks."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings

import rewards
from rewards import Sample, presets, reward, weighted
from rewards.gold import gold_completion
from rewards.testing import check_reward, completions, example_samples, samples

PARTS = {
    "care": ["token_f1", "exact_match", "care_format", "quotes_in_context", "answer_in_quotes", "fact_coverage"],
    "memory_t1": ["memory_format", "temporal_answer", "jaccard_evidence", "temporal_consistency"],
}


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in PARTS.items() for name in names])
def test_every_built_in_part_keeps_the_laws(task, name):
    check_reward(getattr(rewards, name)(), task=task)


@pytest.mark.parametrize("task", PARTS)
def test_both_presets_keep_the_laws(task):
    check_reward(presets.PRESETS[task](), task=task)


def trl_exact(prompts, completions, golds, **columns):
    return [float(completion.endswith(gold[0])) for completion, gold in zip(completions, golds, strict=True)]


def test_a_trl_function_keeps_them_too():
    check_reward(trl_exact, [Sample(golds="Rome", completion="it is Rome")])


# One reward for each way to be wrong; all at the top of the module, so that they pickle.


def half(sample):
    return 0.5


def unbounded(sample):
    return 1.0 if sample.care.answer in sample.golds else float(len(sample.completion))


def nan_on_nothing(sample):
    return 1.0 if sample.completion else math.nan


def crashes_on_nothing(sample):
    return float(bool(sample.completion[0]))


def never_applies(sample):
    return None


@dataclass
class moody:
    calls: itertools.count = field(default_factory=itertools.count)

    def __call__(self, sample):
        return 1.0 if sample.completion.startswith("<think>The context") else next(self.calls) % 97 / 97


def relative(completions, **columns):
    texts = [completion[0]["content"] for completion in completions]
    return [1.0 if text == max(texts) else 0.9 for text in texts]


def holds_the_gold(completions, golds, **columns):
    """A sound TRL-style function for conversations, which is what training hands over."""
    return [float(gold[0] in completion[0]["content"]) for gold, completion in zip(golds, completions, strict=True)]


def test_a_batch_function_gets_messages_as_in_training():
    check_reward(holds_the_gold)


def quadratic(sample):
    time.sleep(0.3 * (len(sample.completion) / 1_000_000) ** 2)
    return 1.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (half, r"law 'the gold output earns the maximum' broke on sample labelled .*it earns 0\.5 of 1"),
        (unbounded, r"law 'values are within bounds' broke on sample labelled .*outside of 0\.0 to 1\.0"),
        (
            nan_on_nothing,
            r"law 'any text can be scored' broke on sample labelled with completion '': .*it returned nan",
        ),
        (crashes_on_nothing, r"law 'any text can be scored' broke .*completion '': .*IndexError"),
        (never_applies, "applies to none of the samples"),
        (moody(), "law 'scores do not change from run to run' broke"),
        (relative, r"law 'scores do not depend on the batch' broke"),
        (quadratic, r"law 'cost is linear in the text' broke on one long run of a character: .* characters take"),
        (lambda sample: 1.0, "law 'the reward pickles' broke"),
    ],
)
def test_each_broken_law_is_named(bad, message):
    with pytest.raises(AssertionError, match=message):
        check_reward(bad)


@reward(needs=("golds",))
def gold_prefix(sample):
    return float(sample.completion.startswith(tuple(sample.golds)))


def test_own_samples_bring_their_own_gold_output():
    check_reward(gold_prefix, [Sample(id="own", golds="Rome", completion="Rome, of course")])
    with pytest.raises(AssertionError, match=r"the gold output earns the maximum.*on sample own"):
        check_reward(gold_prefix, [Sample(id="own", golds="Rome", completion="It is Rome")])
    with pytest.raises(AssertionError, match="no sample"):
        check_reward(gold_prefix, [])
    with pytest.raises(ValueError, match="must be 'care' or 'memory_t1'"):
        check_reward(gold_prefix, task="math")


def test_a_missing_label_is_told_as_the_sample_that_lacks_it():
    with pytest.raises(AssertionError, match="needs golds, but row bare has none"):
        check_reward(weighted(a=(1.0, gold_prefix)), [Sample(id="bare", completion="x")])


@pytest.mark.parametrize("task", PARTS)
def test_strategies_reach_gold_near_misses_and_hostile_text(task):
    form = presets.PRESETS[task]().parts["format"]
    mark = "</think>" if task == "care" else "selected_memory"
    seen = set()

    @settings(max_examples=100, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(samples(task), completions(task))
    def draw(sample, text):
        assert sample.task == task
        formed = form(Sample(completion=text)) == form.bounds[1]
        seen.update(
            {
                "gold" if sample.completion == gold_completion(sample) else "other",
                "labelled" if sample.evidence else "unlabelled",
                "formed" if formed else "missed" if mark in text else "hostile",
                "long" if len(text) > 2_000 else "short",
            }
        )

    draw()
    assert seen == {"gold", "other", "labelled", "unlabelled", "formed", "missed", "hostile", "long", "short"}


@pytest.mark.parametrize("strategy", [samples, completions])
def test_strategies_name_the_tasks_there_are(strategy):
    with pytest.raises(ValueError, match="must be one of care, memory_t1"):
        strategy("math")


@pytest.mark.parametrize("task", PARTS)
def test_example_rows_are_distinct_and_of_the_task(task):
    rows = example_samples(task)
    assert len({row.id for row in rows}) == len(rows)
    assert {row.task for row in rows} == {task}


def test_hypothesis_is_not_needed_to_check_a_reward():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from rewards import token_f1\nfrom rewards.testing import check_reward\ncheck_reward(token_f1())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
