"""The Memory-T1 set: guesses pay in training and fail when asked for what is unusual; variants differ in one thing alone."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from rlkit.ablation.reading import load_ablation
from rlkit.data.dialogues import from_source
from rlkit.yaml_files import read_yaml_file

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "ablate" / "memory"
OF_SFT = ("more_sft", "rejection_sft")


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load_ablation(ROOT / "configs" / "ablate" / "memory.yaml")


def guessed(spec):
    """How often any session of the asked person, whatever its day, tells of the right place, and how often it is right."""
    answers, sessions = [], []
    for record in from_source({**spec, "rows": 300}, "source"):
        person = record["question"].split()[-2]
        mine = [s for s in record["sessions"] if s["utterances"][0]["speaker"] == person]
        answers.append(mean(s["utterances"][0]["text"].endswith(f" {record['golds'][0]}.") for s in mine))
        sessions.append(mean(s["id"] in record["evidence"] for s in mine))
    return mean(answers), mean(sessions)


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_in_training_a_guess_is_mostly_right_from_the_wrong_session(name):
    for spec in read_yaml_file(CONFIGS / f"{name}.yaml")["sources"].values():
        answer, session = guessed(spec)
        assert answer > 0.9
        assert session < 0.4


def test_what_is_asked_in_the_test_is_held_out_and_half_of_it_refutes_the_guess():
    data = read_yaml_file(CONFIGS / "suite.yaml")["data"]
    trained = [read_yaml_file(CONFIGS / f"{name}.yaml")["sources"].values() for name in ("sft", "grpo")]
    shares = {spec["typical"] for specs in trained for spec in specs}
    for name, spec in data.items():
        assert spec["split"] == "test"
        assert spec["rows"] >= 300
        assert {spec["typical"]} == shares, "but for what is asked, test memories are like those of training"
        answer, _ = guessed(spec)
        assert answer < 0.4 if name.startswith("changed_") else answer > 0.85
    assert {spec["level"] for spec in data.values()} - {spec["level"] for specs in trained for spec in specs} == {
        "long"
    }


def test_variants_have_the_same_steps_and_differ_in_rewards_or_curriculum_alone(ablation):
    full = ablation.config(1, "full").to_dict()
    for name in ablation.variants:
        config = ablation.config(1, name).to_dict()
        assert config["train"]["max_steps"] == full["train"]["max_steps"]
        if name not in OF_SFT:
            changed = {key for key in full if config[key] != full[key]}
            assert changed <= {"rewards", "curriculum", "train"}
            assert len(changed - {"train"}) == (name != "full")
            config["train"]["output_dir"] = full["train"]["output_dir"]
            assert config["train"] == full["train"]


def test_rewards_pay_one_for_the_best_completion(ablation):
    for name in set(ablation.variants) - {*OF_SFT}:
        rewards = ablation.config(1, name).to_dict()["rewards"]
        if rewards != "memory_t1":
            assert sum(part["weight"] for key, part in rewards.items() if key != "format") == pytest.approx(1.0)
            assert rewards["format"]["weight"] == 1


def test_the_constant_mix_is_the_average_of_the_curriculum(ablation):
    linear, constant = (ablation.config(1, name).to_dict()["curriculum"] for name in ("full", "constant_mix"))
    for level, share in constant["shares"].items():
        assert share == pytest.approx((linear["start"][level] + linear["end"][level]) / 2)
