"""The quickstart's stages use what they say: shipped configs, seeds of their own, contexts nobody has trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards import Sample
from rlkit.config import load_config
from rlkit.data.synthetic import LEVELS, fingerprint, generate
from rlkit.errors import ConfigError, RunError
from rlkit.quickstart import stages
from rlkit.quickstart.evaluation import measure
from rlkit.quickstart.tables import print_samples, print_table

SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "quickstart"


def contexts(records):
    return {fingerprint(passage["text"] for passage in record["context"]) for record in records}


def test_installed_configs_are_the_shipped_ones():
    for name in ("sft", "grpo"):
        assert (stages.CONFIGS / f"{name}.yaml").read_text() == (SHIPPED / f"{name}.yaml").read_text()


def test_the_config_of_a_stage_is_the_shipped_one_with_model_folder_and_seed(tmp_path):
    config = stages.stage_config("grpo", tmp_path / "a: b", tmp_path / "run", 30, ["train.max_steps=2"])
    assert config.model["model_name_or_path"] == str(tmp_path / "a: b")
    assert (config.output_dir, config.train["seed"], config.train["max_steps"]) == (tmp_path / "run", 30, 2)
    assert {source["seed"] for source in config.sources.values()} == {30}
    assert config.rewards == load_config(SHIPPED / "grpo.yaml").rewards


def test_no_held_out_context_is_in_any_training_source():
    trained: set[str] = set()
    for name in ("sft", "grpo"):
        for source in load_config(SHIPPED / f"{name}.yaml").sources.values():
            trained |= contexts(generate(**{key: value for key, value in source.items() if key != "format"}))
    held_out = contexts(record for level in LEVELS for record in generate(level, 300, seed=1, split="test"))
    assert len(trained) > 2000
    assert not trained & held_out


def test_training_never_sees_as_many_facts_as_the_long_level():
    longest = max(
        len(record["context"])
        for name in ("sft", "grpo")
        for source in load_config(SHIPPED / f"{name}.yaml").sources.values()
        for record in generate(**{key: value for key, value in source.items() if key != "format"})
    )
    assert longest < min(len(record["context"]) for record in generate("long", 50))


def test_seeds_of_stages_and_runs_differ():
    seeds = [seed for number in range(50) for seed in stages.stage_seeds(number).values()]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ConfigError, match="seed: -1"):
        stages.stage_seeds(-1)


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty"):
        stages.new_folder(0, tmp_path)
    with pytest.raises(RunError, match="is not empty"):
        stages.new_folder(0, tmp_path / "mine.txt")
    assert stages.new_folder(0, tmp_path / "new").is_dir()


def test_a_folder_of_its_own_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = stages.new_folder(7, None)
    assert folder.is_dir()
    assert folder.parts[0] == "runs"
    assert folder.name.startswith("quickstart-seed7-")


def test_measures_of_known_completions():
    records = list(generate("hard", 3, 5, demonstrations=True))
    gold, wrong, silent = (record["completion"] for record in records)
    wrong = wrong.rpartition(" ")[0] + " Nowhere"
    silent = "no idea"
    found = measure(records, [gold, wrong, silent])
    assert found == {
        "em": pytest.approx(1 / 3, abs=1e-4),
        "f1": pytest.approx(1 / 3, abs=1e-4),
        "format": pytest.approx(2 / 3, abs=1e-4),
        "grounding": pytest.approx(2 / 3, abs=1e-4),
        "evidence_recall": pytest.approx(2 / 3, abs=1e-4),
        "quoted_words": 4.0,
        "gold_words": 6.0,
        "n": 3,
    }


def test_half_the_evidence_counts_half():
    record = next(generate("hard", 1, 5))
    half = f"<think><retrieval>{record['evidence'][0]}</retrieval></think> Answer: {record['golds'][0]}"
    found = measure([record], [half])
    assert [found["em"], found["grounding"], found["evidence_recall"]] == [1.0, 1.0, 0.5]


def test_table_and_samples_show_every_model_and_level(tmp_path):
    from rich.console import Console

    records = list(generate("hard", 3, 5, demonstrations=True))
    for model in stages.MODELS:
        lines = [
            json.dumps({**record, "completion": "?" if model == "sft" and number else record["completion"]})
            for number, record in enumerate(records)
        ]
        (tmp_path / f"{model}-hard.jsonl").write_text("\n".join(lines) + "\n")
    console = Console(record=True, width=140)
    print_samples(console, tmp_path)
    metrics = measure(records, [record["completion"] for record in records])
    print_table(console, {model: dict.fromkeys(LEVELS, metrics) for model in stages.MODELS})
    text = console.export_text()
    assert records[1]["question"] in text  # SFT is wrong and GRPO right
    assert text.count("✗ SFT") == 1
    for name in ("more SFT", "GRPO", "easy", "hard", "long", "evidence recall", "6.0 / 6.0"):
        assert name in text


@pytest.mark.slow
def test_the_whole_way_with_few_steps(tmp_path):
    result = stages.run(
        3, tmp_path / "run", rows=4, base_steps=2, overrides=["train.max_steps=2", "train.logging_steps=1"]
    )
    assert [*result] == ["seed", "seconds", "table"]
    assert [*result["table"]] == list(stages.MODELS)
    for levels in result["table"].values():
        assert {level: metrics["n"] for level, metrics in levels.items()} == dict.fromkeys(LEVELS, 4)
    saved = json.loads((tmp_path / "run/results.json").read_text())
    assert saved["table"] == result["table"]
    answers = (tmp_path / "run/evaluation/grpo-long.jsonl").read_text().splitlines()
    assert Sample.from_record(json.loads(answers[0])).context
    logged = [json.loads(line) for line in (tmp_path / "run/grpo/metrics.jsonl").read_text().splitlines()]
    assert any("rewards/grounding/mean" in line for line in logged)
