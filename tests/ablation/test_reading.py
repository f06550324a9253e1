"""An ablation's file is checked to the last variant; what its stages are told differs in nothing but what they change."""

from __future__ import annotations

import copy
import datetime
import json
from pathlib import Path

import pytest
import yaml

from rlkit.ablation.jobs import jobs_of
from rlkit.ablation.reading import load_ablation, parse_ablation
from rlkit.cli import main
from rlkit.errors import ConfigError, RunError

ROOT = Path(__file__).resolve().parents[2]
GRPO, SFT = str(ROOT / "configs/quickstart/grpo.yaml"), str(ROOT / "configs/quickstart/sft.yaml")
VALUES = {
    "seeds": [3, 4],
    "output_dir": "out",
    "evaluate": "synthetic",
    "before": {
        "base": {"world": "care", "steps": 10},
        "sft": {"config": SFT, "from": "base"},
        "answers": {"sample": GRPO, "from": "sft"},
    },
    "config": GRPO,
    "from": "sft",
    "variants": {
        "full": {},
        "bare": {"set": {"rewards.grounding.weight": 0}},
        "more_sft": {"config": SFT},
        "rejection": {"config": SFT, "rows": "answers"},
    },
}


def changed(*path, to):
    values = copy.deepcopy(VALUES)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return values


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "ablate").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_are_whole(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = path.read_text(encoding="utf-8").splitlines()[0]
    assert command.startswith(f"# rlkit ablate configs/ablate/{path.name}") or "rlkit evaluate" in command
    if "rlkit ablate" in command:
        ablation = load_ablation(path)
        assert len(jobs_of(ablation)) > len(ablation.seeds)


def test_variants_differ_in_what_they_change_alone():
    ablation = parse_ablation(VALUES)
    full, bare = ablation.config(3, "full").to_dict(), ablation.config(3, "bare").to_dict()
    assert bare["rewards"]["grounding"]["weight"] == 0
    bare["rewards"]["grounding"]["weight"] = full["rewards"]["grounding"]["weight"]
    assert full["train"].pop("output_dir") != bare["train"].pop("output_dir")
    assert full == bare
    other_seed = ablation.config(4, "full").to_dict()
    assert other_seed["train"]["seed"] != full["train"]["seed"]
    assert other_seed["sources"]["easy"]["seed"] != full["sources"]["easy"]["seed"]


def test_more_sft_has_the_rows_of_sft_in_another_order():
    ablation = parse_ablation(VALUES)
    sft, more, full = (ablation.config(3, name) for name in ("sft", "more_sft", "full"))
    assert dict(sft.sources) == dict(more.sources)
    assert sft.train["seed"] != more.train["seed"] == full.train["seed"]
    assert full.sources["easy"]["seed"] != sft.sources["one_hop"]["seed"]


def test_a_variant_starts_from_the_model_before_it_and_learns_from_its_rows():
    ablation = parse_ablation(VALUES)
    assert ablation.config(3, "sft").model["model_name_or_path"] == "out/seed3/base"
    assert ablation.config(3, "full").model["model_name_or_path"] == "out/seed3/sft/model"
    assert {name: dict(source) for name, source in ablation.config(3, "rejection").sources.items()} == {
        "kept": {"format": "records", "path": "out/seed3/answers/kept.jsonl"}
    }
    assert ablation.config(3, "rejection").curriculum is None  # that of the file shares out the file's sources
    mixed = {"kind": "constant", "shares": {"kept": 1}}
    of_its_own = parse_ablation(changed("variants", "rejection", "set", to={"curriculum": mixed}))
    assert of_its_own.config(3, "rejection").curriculum["shares"] == {"kept": 1}


def test_inputs_come_first_and_every_model_is_evaluated():
    jobs = jobs_of(parse_ablation(VALUES))
    names = [job.name for job in jobs]
    assert len(names) == len(set(names)) == 2 * (3 + 4 + 6)  # stages before, variants, and six models of each seed
    for at, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:at])
    asked = {job.name: job.command[job.command.index("--model") + 1] for job in jobs if job.name.endswith(" evaluated")}
    assert asked["seed3/full evaluated"] == "out/seed3/full"  # the run, which says how its model was asked in training
    assert asked["seed3/base evaluated"] == "out/seed3/base"
    only = [job.name for job in jobs_of(parse_ablation(VALUES), ["bare"])]
    assert "seed3/bare" in only
    assert "seed3/full" not in only


def test_every_seed_has_questions_of_its_own_that_its_variants_share():
    ablation = parse_ablation({**VALUES, "evaluate": str(ROOT / "configs/ablate/care/evaluate.yaml")})
    asked = {}
    for seed in ablation.seeds:
        (suite,) = ablation.evaluation(seed)[1]
        numbers = {source["seed"] for source in suite.data.values()}
        assert len(numbers) == 1  # the same of all, so that a changed context stays paired with the plain one
        (asked[seed],) = numbers
        assert suite.data["hard"] == {**ablation.evaluation()[1][0].data["hard"], "seed": asked[seed]}
        for name in ("sft", "full"):
            assert asked[seed] not in [source["seed"] for source in ablation.config(seed, name).sources.values()]
    assert len(set(asked.values())) == 2
    evaluations = {job.name: job for job in jobs_of(ablation) if job.name.endswith(" evaluated")}
    for seed, number in asked.items():
        told = [evaluations[f"seed{seed}/{name} evaluated"] for name in ("base", "full", "bare")]
        assert all(f"data_seed={number}" in job.command for job in told)
        assert all(job.settings["suites"]["suite"]["data"]["easy"]["seed"] == number for job in told)


def test_questions_that_are_no_seeds_stay(tmp_path):
    suite, evaluate = tmp_path / "mine.yaml", tmp_path / "evaluate.yaml"
    source = {"format": "records", "path": "rows.jsonl"}
    suite.write_text(yaml.safe_dump({"title": "Mine", "data": {"rows": source}, "metrics": ["em"]}))
    evaluate.write_text(yaml.safe_dump({"suites": {str(suite): {}}}))
    ablation = parse_ablation({**VALUES, "evaluate": str(evaluate)})
    assert ablation.questions(3) == []
    assert ablation.evaluation(3) == ablation.evaluation(4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed("variants", to={}), ["variants: none given"]),
        (changed("variants", "bare", "sett", to={}), ["variants.bare: sett: no such key", "Did you mean 'set'?"]),
        (changed("from", to="stf"), ["variants.full.from: 'stf'", "Did you mean 'sft'?"]),
        (changed("from", to="answers"), ["variants.full.from: answers makes rows, but a model is needed"]),
        (changed("variants", "rejection", "rows", to="base"), ["base makes a model, but rows are needed"]),
        (changed("variants", "bare", "set", to={"train.max_step": 3}), ["variants.bare", "Did you mean 'max_steps'?"]),
        (
            changed("variants", "bare", "set", to={"rewards.grounding.use": "fact_cover"}),
            ["variants.bare", "'fact_coverage'"],
        ),
        (
            changed("variants", "bare", "set", to={"rewards.grounding": {"use": "token_f1"}}),
            ["variants.bare", "weight"],
        ),
        (changed("variants", "sft", to={}), ["variants.sft: stands in before, too"]),
        (changed("variants", "a/b", to={}), ["becomes a folder's name"]),
        (changed("seeds", to=[1, 1]), ["seeds: is [1, 1]", "each once"]),
        (changed("seeds", to=[]), ["seeds: is []"]),
        (changed("seeds", to=[-1]), ["seeds: is [-1]", "from 0 to 268435455"]),
        ({**VALUES, "variants": {False: {}}}, ["variants.False: YAML reads this name as bool False; put it in quotes"]),
        (changed("config", to=5), ["variants.full.config: is 5", "must be a text"]),
        (changed("before", "sft", "from", to=[1]), ["before.sft.from: is [1]"]),
        (changed("output_dir", to=""), ["output_dir: is empty"]),
        (changed("output_dir", to=None), ["output_dir: is None"]),
        (changed("title", to={"a": 1}), ["title: is {'a': 1}"]),
        (
            changed("variants", "bare", "set", to={"train": {"beta": 0.04}}),
            ["variants.bare: set.train: would replace the whole section", GRPO, "{train.beta: ...}"],
        ),
        (changed("variants", "bare", "set", to={"model": None}), ["set.model: would replace the whole section"]),
        (changed("evaluate", to="synthetik"), ["evaluate", "Did you mean 'synthetic'?"]),
        (changed("before", "base", "world", to="cara"), ["before.base.world: is 'cara'", "Did you mean 'care'?"]),
        (changed("before", "base", "from", to="sft"), ["before.base.from: means nothing beside world"]),
        (
            changed("before", "base", "hidden_size", to=100),
            ["before.base.hidden_size: is 100", "32 or a multiple of it"],
        ),
        (changed("before", "base", "steps", to=0), ["before.base.steps: is 0", "at least 1"]),
        (changed("before", "base", "sample", to=GRPO), ["world and sample", "exactly one"]),
        (changed("before", "answers", "sample", to=SFT), ["is no GRPO config"]),
        (changed("before", "answers", "from", to=None), ["before.answers: from: missing"]),
        (changed("differences", to={"x": ["full", "ful"]}), ["differences.x: 'ful' is no variant", "'full'"]),
        (changed("differences", to={"x": "full"}), ["must be [variant, against]"]),
        (changed("variants", "bare", "set", to={"train.seed": 7}), ["variants.bare: set.train.seed: is decided by"]),
        (
            changed("variants", "bare", "set", to={"sources.easy": {"format": "synthetic", "seed": 7}}),
            ["variants.bare: set.sources.easy.seed: is decided by"],
        ),
        (changed("differences", to={"x": ["full", "full"]}), ["differences.x: holds 'full' against itself"]),
        (changed("differences", to={"x": ["full", "answers"]}), ["'answers' makes rows, which have no figures"]),
        (
            changed("variants", "bare", "set", to={"rewards.accuracy.since": datetime.date(2024, 1, 1)}),
            ["variants.bare.set.rewards.accuracy.since: Object of type date", "put it in quotes"],
        ),
        (changed("variants", "bare", "set", to={"sources.easy.seed": 7}), ["set.sources.easy.seed: is decided by"]),
        (changed("variants", "rejection", "set", to={"sources.x.rows": 7}), ["set.sources.x.rows: is decided by"]),
        (
            changed("variants", "bare", "set", to={"model.model_name_or_path": "x"}),
            ["set.model.model_name_or_path: is decided by", "from: names the start"],
        ),
        (changed("before", "answers", "set", to={"train.seed": 7}), ["before.answers: set.train.seed: is decided by"]),
        (
            changed(
                "before",
                to=VALUES["before"] | {f"m{n}": {"config": SFT, "from": f"m{n - 1}" if n else "sft"} for n in range(6)},
            ),
            ["starts up to 7 stages", "at most 7 configs and 6 stages"],
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(values, words):
    with pytest.raises(ConfigError) as error:
        parse_ablation(values, "mine.yaml")
    assert all(word in str(error.value) for word in ["mine.yaml: ", *words]), error.value


def test_a_wider_base_model_is_another_job():
    wide = parse_ablation(changed("before", "base", "hidden_size", to=64))
    plain, job = (jobs_of(ablation)[0] for ablation in (parse_ablation(VALUES), wide))
    assert job.command == (*plain.command, "--hidden-size", "64")
    assert job.settings == {**plain.settings, "hidden_size": 64}


def test_a_job_that_ran_with_other_settings_is_not_mixed_in(tmp_path):
    ablation = parse_ablation(changed("output_dir", to=str(tmp_path)))
    job = next(job for job in jobs_of(ablation) if job.name == "seed3/full")
    assert not job.is_done()
    job.note.parent.mkdir(parents=True)
    job.note.write_text(json.dumps({"settings": dict(job.settings), "seconds": 1}))
    assert job.is_done()
    other = {**changed("output_dir", to=str(tmp_path)), "variants": {"full": {"set": {"train.learning_rate": 1e-5}}}}
    again = next(job for job in jobs_of(parse_ablation(other)) if job.name == "seed3/full")
    with pytest.raises(RunError, match=r"train.learning_rate: 0.0002 -> 1e-05"):
        again.is_done()


def test_the_command_refuses_and_tells(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(VALUES, sort_keys=False))
    assert main(["ablate", str(path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "# seed3/full" in printed
    assert "rewards.grounding.weight=0" in printed
    assert main(["ablate", str(path), "--only", "ful"]) == 2
    assert "Did you mean 'full'?" in capsys.readouterr().err
    assert main(["ablate", str(path), "--show"]) == 2
    assert "nothing is measured yet" in capsys.readouterr().err
    for more in (["--only", "full"], ["--jobs", "2"], ["--dry-run"]):
        assert main(["ablate", str(path), "--show", *more]) == 2
        assert f"{more[0]} means nothing beside it" in capsys.readouterr().err
    for out, words in ((path, f"{path} is a file"), (path / "below", f"{path} is a file")):
        assert main(["ablate", str(path), "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
    assert main(["ablate", str(path), "variants.ful.set={train.beta: 0.04}"]) == 2
    assert "variants has no 'ful'; there are full, " in capsys.readouterr().err
    (tmp_path / "empty.yaml").touch()
    assert main(["ablate", "empty.yaml", "seeds=[1]"]) == 2
    assert "empty.yaml: is empty" in capsys.readouterr().err
    (tmp_path / "empty.yaml").unlink()
    assert main(["ablate", "main.yaml"]) == 2
    assert "Did you mean 'mine.yaml'?" in capsys.readouterr().err
    assert main(["ablate", str(path), "--jobs", "0"]) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sources.hard.level", "hrd", "Did you mean 'hard'?"),
        ("train.num_generations", 3, "num_generations"),
        ("curriculum", {"kind": "constant", "shares": {"easi": 1}}, "'easi'"),
        ("sources.hard.facts", [1], "facts"),
    ],
)
def test_what_training_would_refuse_is_told_before_the_first_job(key, value, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        yaml.safe_dump({**VALUES, "variants": {"full": {}, "bare": {"set": {key: value}}}}, sort_keys=False)
    )
    assert main(["ablate", "mine.yaml"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "bare: " in said
    assert "Nothing was started" in said
    assert not Path("out").exists()
