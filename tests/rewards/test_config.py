"""Rewards from configs: names, parameters, user code and where every mistake is reported."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types

import pytest

import rewards
from rewards import RewardError, Sample, answer_in_quotes, for_task, presets, token_f1
from rewards.config import BUILT_IN, from_config

MODULE = """
from dataclasses import dataclass
from rewards import reward

@reward(needs=("level",))
def tagged(sample): return float(sample.columns["level"] == "hard")

def plain(sample): return 0.25

def batch(prompts, completions, **columns): return [0.5] * len(completions)

@dataclass(frozen=True)
class scaled:
    factor: float
    offset: float = 0.0
    def __call__(self, sample): return self.factor + self.offset

def factory(value=0.125):
    if value < 0: raise RuntimeError("below zero")
    return scaled(value)

ready = scaled(0.75)
number = 7
"""


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    (tmp_path / "my_lab_rewards.py").write_text(MODULE)
    (tmp_path / "broken_lab.py").write_text("import no_such_module_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_lab_rewards", None)


def value(use, **parameters):
    spec = {"mine": {"use": use, "weight": 1.0, **parameters}}
    return from_config(spec)(Sample(completion="x", columns={"level": "hard"})).total


def test_every_built_in_part_is_found_and_exported():
    parts = {name for name, item in vars(rewards).items() if hasattr(item, "bounds") and name not in ("for_task",)}
    assert parts == set(BUILT_IN)
    for name in BUILT_IN:
        assert type(from_config({"x": {"use": name, "weight": 1}}).parts["x"]) is getattr(rewards, name)


def test_presets_are_the_published_weights():
    assert from_config("care") == presets.care()
    assert dict(presets.care().weights) == {"accuracy": 0.7, "format": 0.1, "grounding": 0.2}
    assert from_config("memory_t1") == presets.memory_t1()
    assert dict(presets.memory_t1().weights) == {"format": 1.0, "accuracy": 0.6, "evidence": 0.2, "temporal": 0.2}


def test_a_preset_with_another_grounding_is_one_line():
    answers = presets.care(grounding=answer_in_quotes())
    assert from_config({"preset": "care", "grounding": {"use": "answer_in_quotes"}}) == answers
    assert list(answers.parts) == ["accuracy", "format", "grounding"]
    assert answers == presets.care(grounding=(0.2, answer_in_quotes()))
    spec = {
        "grounding": {"use": "answer_in_quotes", "weight": 0.1, "min_words": 5},
        "preset": "care",
        "on_error": "abstain",
    }
    changed = from_config(spec)
    assert (changed.weights["grounding"], changed.parts["grounding"].min_words, changed.on_error) == (0.1, 5, "abstain")
    more = from_config({"preset": "memory_t1", "words": {"use": "token_f1", "weight": 0.1}})
    assert more == presets.memory_t1(words=(0.1, token_f1()))


def test_a_part_may_be_called_preset():
    assert from_config({"preset": {"use": "token_f1", "weight": 1}}) == rewards.weighted(preset=(1, token_f1()))


def test_a_further_part_of_a_preset_needs_a_weight():
    with pytest.raises(
        RewardError, match=r"part 'groundin': the preset care has no such part.*Did you mean 'grounding'"
    ):
        presets.care(groundin=answer_in_quotes())


def test_a_config_equals_the_same_reward_in_python():
    spec = {"accuracy": {"use": "token_f1", "weight": 0.7}, "on_error": "abstain"}
    assert from_config(spec) == rewards.weighted(on_error="abstain", accuracy=(0.7, token_f1()))
    grounding = from_config({"g": {"use": "quotes_in_context", "weight": 1, "min_words": 5}}).parts["g"]
    assert grounding.min_words == 5


def test_a_part_may_be_kept_to_one_task():
    composed = from_config({"a": {"use": "token_f1", "weight": 1, "task": "care"}})
    assert composed.parts["a"] == for_task("care", token_f1())


@pytest.mark.usefixtures("my_lab")
def test_user_code_of_every_kind():
    assert value("my_lab_rewards:tagged") == 1.0
    assert value("my_lab_rewards:plain") == 0.25
    assert value("my_lab_rewards:batch") == 0.5
    assert value("my_lab_rewards:scaled", factor=0.5, offset=0.25) == 0.75
    assert value("my_lab_rewards:factory") == 0.125
    assert value("my_lab_rewards:factory", value=0.5) == 0.5
    assert value("my_lab_rewards:ready") == 0.75


def test_user_code_pickles_into_another_process(my_lab):
    composed = from_config({"mine": {"use": "my_lab_rewards:scaled", "weight": 1, "factor": 0.5}})
    (my_lab / "reward.pickle").write_bytes(pickle.dumps(composed))
    code = "import pickle; from rewards import Sample; print(pickle.load(open('reward.pickle','rb'))(Sample()).total)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "0.5"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("car", r"^rewards: no preset 'car'\. Did you mean 'care'\? There are: care, memory_t1\.$"),
        ({"preset": "car"}, r"^rewards\.preset: no preset 'car'\. Did you mean 'care'"),
        ({"preset": "care", "extra": {"use": "token_f1"}}, r"^rewards\.extra: has no 'weight'"),
        ({"preset": "care", "grounding": {"weight": 1}}, r"^rewards\.grounding: has no 'use'"),
        (["care"], r"^rewards: is \['care'\]"),
        ({}, "^rewards: no parts given"),
        ({"a": "token_f1"}, r"^rewards\.a: is 'token_f1', but must be a mapping such as \{use: token_f1"),
        ({"a": {"use": "token_f1"}}, r"^rewards\.a: has no 'weight' \(it has: use\)"),
        ({"a": {"weight": 1}}, r"^rewards\.a: has no 'use'"),
        ({"a": {"use": "tokenf1", "weight": 1}}, r"^rewards\.a\.use: no built-in .*mean 'token_f1'\?.*exact_match.*module:attr"),
        ({"a": {"use": 7, "weight": 1}}, r"^rewards\.a\.use: is 7"),
        ({"a": {"use": "token_f1", "weight": "1e-1"}}, r"^rewards\.a\.weight: the weight is '1e-1', but must be a finite"),
        ({"a": {"use": "token_f1", "weight": float("nan")}}, r"^rewards\.a\.weight: the weight is nan"),
        ({"a": {"use": "token_f1", "weight": 0}}, r"^rewards: all weights are zero"),
        ({"a": {"use": "token_f1", "weight": 1, "task": "car"}}, r"^rewards\.a\.task: no task 'car'\. Did you mean 'care'"),
        ({"a": {"use": "quotes_in_context", "weight": 1, "min_word": 5}}, r"^rewards\.a\.min_word: quotes_in_context has no "
         r"parameter 'min_word'\. Did you mean 'min_words'\? There are: "),
        ({"a": {"use": "quotes_in_context", "weight": 1, "threshold": 7}}, r"^rewards\.a: quotes_in_context refuses .*: threshold is 7"),
        ({"a": {"use": "token_f1", "weight": 1}, "on_error": "ignore"}, "^rewards: on_error is 'ignore'"),
        ({True: {"use": "token_f1", "weight": 1}}, "^rewards: the name True of a part is not text"),
        ({"a": {"use": "my_lab_rewards:taged", "weight": 1}}, r"^rewards\.a\.use: my_lab_rewards \(.*my_lab_rewards\.py\) has no "
         r"'taged'\. Did you mean 'tagged'\?"),
        ({"a": {"use": "no_lab:x", "weight": 1}}, r"^rewards\.a\.use: cannot import 'no_lab': ModuleNotFoundError.*working directory"),
        ({"a": {"use": "lab/r.py:x", "weight": 1}}, r"^rewards\.a\.use: cannot import .*Write the module's name with dots"),
        ({"a": {"use": "broken_lab:x", "weight": 1}}, r"cannot import 'broken_lab': .*No module named 'no_such_module_at_all'"),
        ({"a": {"use": "my_lab_rewards:number", "weight": 1}}, r"^rewards\.a\.use: 7 cannot be called"),
        ({"a": {"use": "my_lab_rewards:tagged", "weight": 1, "level": 2}}, r"^rewards\.a\.level: tagged is a reward itself"),
        ({"a": {"use": "my_lab_rewards:batch", "weight": 1, "x": 2}}, r"^rewards\.a\.x: batch is a reward itself"),
        ({"a": {"use": "my_lab_rewards:ready", "weight": 1, "x": 2}}, r"^rewards\.a\.x: scaled is a reward itself"),
        ({"a": {"use": "my_lab_rewards:scaled", "weight": 1}}, r"^rewards\.a: scaled needs the parameter factor"),
        ({"a": {"use": "my_lab_rewards:factory", "weight": 1, "value": -1}}, r"^rewards\.a: factory refuses .*RuntimeError: below"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("my_lab")
def test_every_mistake_is_an_error_with_its_place(spec, message):
    with pytest.raises(RewardError, match=message):
        from_config(spec)


def test_the_place_may_start_with_a_file():
    with pytest.raises(RewardError, match=r"^my\.yaml: rewards\.a\.use: no built-in"):
        from_config({"a": {"use": "f1", "weight": 1}}, path="my.yaml: rewards")


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        ("SystemExit(2)", RewardError, r"^rewards\.a\.use: cannot import 'leaving_lab_0': SystemExit: 2"),
        ("KeyboardInterrupt", KeyboardInterrupt, None),
    ],
)
def test_a_module_that_ends_the_program_is_an_error_and_an_interrupt_is_not(
    tmp_path, monkeypatch, raised, expected, message
):
    (tmp_path / "leaving_lab_0.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(expected, match=message):
        from_config({"a": {"use": "leaving_lab_0:x", "weight": 1}})


def leaving_factory(value):
    raise SystemExit(value)


def test_a_factory_that_ends_the_program_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "leaving_lab", types.SimpleNamespace(leaving_factory=leaving_factory))
    with pytest.raises(RewardError, match=r"^rewards\.a: leaving_factory refuses these parameters: SystemExit: 4"):
        from_config({"a": {"use": "leaving_lab:leaving_factory", "weight": 1, "value": 4}})
