"""The quickstart's stages use what they say: shipped configs, seeds of their own, contexts nobody has trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards import Sample
from rlkit.config import load_config
from rlkit.data.facts import fingerprint
from rlkit.data.synthetic import generate
from rlkit.errors import ConfigError, RunError
from rlkit.quickstart import stages
from rlkit.quickstart.care import measure
from rlkit.quickstart.memory import measure as measure_memory
from rlkit.quickstart.tables import NAMES, print_samples, print_table
from rlkit.sources import load_sources

SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "quickstart"
both_tasks = pytest.mark.parametrize("task", stages.WORLDS)


def contexts(records):
    """What each record tells, whatever the order, the names of sessions and the question."""
    return {
        fingerprint(
            [passage["text"] for passage in record["context"]]
            + [
                f"{session['date']} {said['speaker']} {said['text']}"
                for session in record.get("sessions", ())
                for said in session["utterances"]
            ]
        )
        for record in records
    }


def training_rows(task, stage):
    world = stages.WORLDS[task]
    for source in load_config(SHIPPED / f"{world.configs}{stage}.yaml").sources.values():
        yield from world.generate(**{key: value for key, value in source.items() if key != "format"})


@both_tasks
def test_installed_configs_are_the_shipped_ones(task):
    for stage in ("sft", "grpo"):
        path = stages.config_path(stages.WORLDS[task], stage)
        assert path.read_text() == (SHIPPED / path.name).read_text()


@both_tasks
def test_training_rows_bring_what_their_stage_needs(task, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    world = stages.WORLDS[task]
    for stage in ("sft", "grpo"):
        config = stages.stage_config(world, stage, tmp_path / "model", tmp_path / stage, 1)
        assert config.task == task
        for _, record in load_sources(config).records():
            assert record["task"] == task
            assert bool(record.get("completion")) == (stage == "sft")


def test_the_config_of_a_stage_is_the_shipped_one_with_model_folder_and_seed(tmp_path):
    world = stages.WORLDS["care"]
    config = stages.stage_config(world, "grpo", tmp_path / "a: b", tmp_path / "run", 30, ["train.max_steps=2"])
    assert config.model["model_name_or_path"] == str(tmp_path / "a: b")
    assert (config.output_dir, config.train["seed"], config.train["max_steps"]) == (tmp_path / "run", 30, 2)
    assert {source["seed"] for source in config.sources.values()} == {30}
    assert config.rewards == load_config(SHIPPED / "grpo.yaml").rewards


@both_tasks
def test_no_held_out_context_is_in_any_training_source(task):
    world = stages.WORLDS[task]
    trained = contexts(record for stage in ("sft", "grpo") for record in training_rows(task, stage))
    held_out = contexts(record for level in world.levels for record in world.generate(level, 300, 1, split="test"))
    assert len(trained) > 2000
    assert not trained & held_out


@both_tasks
def test_training_never_sees_a_context_as_large_as_those_of_the_long_level(task):
    def size(record):
        return len(record["context"]) + len(record.get("sessions", ()))

    longest = max(size(record) for stage in ("sft", "grpo") for record in training_rows(task, stage))
    assert longest < min(map(size, stages.WORLDS[task].generate("long", 50)))


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there are care, memory_t1"):
        stages.run("memory_t2", folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_seeds_of_stages_and_runs_differ():
    seeds = [seed for number in range(50) for seed in stages.stage_seeds(number).values()]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ConfigError, match="seed: -1"):
        stages.stage_seeds(-1)


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RunError, match="is not empty"):
        stages.new_folder("care", 0, tmp_path)
    with pytest.raises(RunError, match="is not empty"):
        stages.new_folder("care", 0, tmp_path / "mine.txt")
    assert stages.new_folder("care", 0, tmp_path / "new").is_dir()


def test_a_folder_of_its_own_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = stages.new_folder("memory_t1", 7, None)
    assert folder.is_dir()
    assert folder.parts[0] == "runs"
    assert folder.name.startswith("quickstart-memory_t1-seed7-")


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


def test_figures_of_a_right_a_half_right_and_an_unreadable_answer():
    from rlkit.data.dialogues import generate

    row = next(generate("easy", 1, seed=7))
    wrong = next(session["id"] for session in row["sessions"] if session["date"] != row["time_range"][0])

    def figures(selected, answer):
        return measure_memory([row], [json.dumps({"selected_memory": selected, "answer": answer})])

    right = figures(row["evidence"], row["golds"][0])
    assert right == {"answer": 1.0, "jaccard": 1.0, "temporal": 1.0, "format": 1.0, "n": 1}
    assert figures([*row["evidence"], wrong], row["golds"][0])["jaccard"] == 0.5
    assert figures([wrong], row["golds"][0])["temporal"] < 1.0
    assert figures(row["evidence"], "Nowhere")["answer"] == 0.0
    completions = [json.dumps({"selected_memory": row["evidence"], "answer": row["golds"][0]}), "?"]
    halves = {"answer": 0.5, "jaccard": 0.5, "temporal": 0.125, "format": 0.5, "n": 2}
    assert measure_memory([row] * 2, completions) == halves


@both_tasks
def test_right_means_answer_and_for_memories_selection(task):
    world = stages.WORLDS[task]
    record = next(world.generate("hard", 1, 5, demonstrations=True))
    assert world.is_right(record)
    assert not world.is_right({**record, "completion": record["completion"].replace(record["golds"][0], "Nowhere")})
    assert not world.is_right({**record, "completion": "?"})
    if task == "memory_t1":
        other = record["completion"].replace(record["evidence"][0], "session_99")
        assert not world.is_right({**record, "completion": other})


@both_tasks
def test_table_and_samples_show_every_model_and_level(task, tmp_path):
    from rich.console import Console

    world = stages.WORLDS[task]
    records = list(world.generate("hard", 3, 5, demonstrations=True))
    for model in stages.MODELS:
        lines = [
            json.dumps({**record, "completion": "?" if model == "sft" and number else record["completion"]})
            for number, record in enumerate(records)
        ]
        (tmp_path / f"{model}-hard.jsonl").write_text("\n".join(lines) + "\n")
    console = Console(record=True, width=240)
    print_samples(console, world, tmp_path)
    metrics = world.measure(records, [record["completion"] for record in records])
    print_table(console, world, {model: dict.fromkeys(world.levels, metrics) for model in NAMES})
    text = console.export_text()
    assert records[1]["question"] in text  # SFT is wrong and GRPO right
    assert text.count("✗ SFT") == 1
    assert all(mark in text for mark in world.marks(records[1]))
    for name in ("more SFT", "GRPO", "gold", *world.levels, *world.columns):
        assert name in text


@pytest.mark.slow
@both_tasks
def test_the_whole_way_with_few_steps(task, tmp_path):
    overrides = ["train.max_steps=2", "train.logging_steps=1"]
    result = stages.run(task, 3, tmp_path / "run", rows=4, base_steps=2, overrides=overrides)
    assert [*result] == ["task", "seed", "seconds", "table"]
    assert [*result["table"]] == [*stages.MODELS, "gold"]
    levels = stages.WORLDS[task].levels
    for metrics in result["table"].values():
        assert {level: found["n"] for level, found in metrics.items()} == dict.fromkeys(levels, 4)
    assert all(found["format"] == 1.0 for found in result["table"]["gold"].values())
    saved = json.loads((tmp_path / "run/results.json").read_text())
    assert saved["table"] == result["table"]
    answers = (tmp_path / "run/evaluation/grpo-long.jsonl").read_text().splitlines()
    assert Sample.from_record(json.loads(answers[0])).golds
    logged = [json.loads(line) for line in (tmp_path / "run/grpo/metrics.jsonl").read_text().splitlines()]
    part = {"care": "grounding", "memory_t1": "evidence"}[task]
    assert any(f"rewards/{part}/mean" in line for line in logged)
