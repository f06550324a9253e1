"""What was measured outlives its folders: one file holds it all, and files of several parts make one ablation."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rlkit.ablate import _report
from rlkit.ablation import results as files
from rlkit.ablation.jobs import evaluation_folder, jobs_of
from rlkit.ablation.plot import plot
from rlkit.ablation.reading import load_ablation, parse_ablation
from rlkit.ablation.results import Figure, load, read, settings_of, what_went_wrong
from rlkit.ablation.summary import effects
from rlkit.ablation.tables import mean_table
from rlkit.cli import main
from rlkit.errors import ConfigError, DataError
from rlkit.runs import write_json

STEPS = [{"step": number, "reward": 0.9 if number < 15 else 0.1, "loss": 0.1} for number in range(20)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of an ablation's file, with evaluations of two seeds as `rlkit evaluate` writes them."""
    here = tmp_path_factory.mktemp("measured")
    rows = [{"id": str(n), "question": "q?", "context": ["a b c d."], "golds": ["b"]} for n in range(4)]
    source = {"format": "records", "path": "rows.jsonl"}
    train = {"max_steps": 1, "per_device_train_batch_size": 2, "num_generations": 2}
    model = {"model_name_or_path": "models/none"}
    written = {
        "suite.yaml": {"title": "Mine", "data": {"rows": source}, "metrics": ["em", "f1"]},
        "evaluate.yaml": {"suites": {"suite.yaml": {}}},
        "grpo.yaml": {"method": "grpo", "model": model, "sources": {"rows": source}, "rewards": "care", "train": train},
        "mine.yaml": {
            "title": "Two variants",
            "seeds": [1, 2],
            "output_dir": "out",
            "evaluate": "evaluate.yaml",
            "config": "grpo.yaml",
            "variants": {"full": {}, "bare": {"set": {"train.learning_rate": 1e-5}}},
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        lines(here / "rows.jsonl", rows)
        for name, values in written.items():
            (here / name).write_text(yaml.safe_dump(values, sort_keys=False))
        ablation = load_ablation(here / "mine.yaml")
        for right, runs in {4: [("full", 1), ("full", 2)], 1: [("bare", 1)], 2: [("bare", 2)]}.items():
            lines(here / "said.jsonl", [{"id": str(n), "completion": "b" if n < right else "no"} for n in range(4)])
            assert main(["evaluate", "--predictions", "said.jsonl", "--suite", "suite.yaml", "--out", str(right)]) == 0
            for name, seed in runs:
                shutil.copytree(here / str(right), evaluation_folder(ablation, seed, name))
                for job in jobs_of(ablation):
                    if job.name.split()[0] == f"seed{seed}/{name}":
                        write_json(job.note, job.noted(60.0 + seed, {"torch": "2.13"}))
    return here


@pytest.fixture
def mine(measured, tmp_path, monkeypatch):
    shutil.copytree(measured, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return load_ablation(Path("mine.yaml"))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parts_of(results):
    """A file for each seed."""
    paths = []
    for seed in (1, 2):
        part = replace(results, commands=(f"rlkit ablate mine.yaml --seeds {seed}",), runs=tuple(run for run in results.runs if run.seed == seed))  # fmt: skip
        paths.append(results_file(part, f"seed{seed}.json"))
    return paths


def results_file(results, name):
    files.write(Path(name), files.as_data(results))
    return Path(name)


def changed(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_folders_tell_figures_counts_seconds_and_versions(mine):
    results = read(mine, "rlkit ablate mine.yaml")
    (run,) = (run for run in results.runs if (run.stage, run.seed) == ("bare", 1))
    em = Figure("suite", "rows", "full", "em")
    assert (run.figures[em], run.counts[em]) == (0.25, 4)
    assert run.seconds == {"made": 61.0, "evaluated": 61.0}
    assert results.versions == ({"torch": "2.13"},)
    assert results.settings["configs"]["grpo.yaml"]["train"]["max_steps"] == 1
    assert results.settings["variants"]["bare"]["set"] == {"train.learning_rate": 1e-5}
    assert [effect.difference for effect in effects(results) if effect.figure == em] == [-0.625]


def test_each_training_shows_its_reward_and_what_it_cost(mine):
    steps = [
        {"step": 5, "reward": 0.25, "time/rewards_share": 0.01},
        {"step": 10, "reward": float("nan")},
        {"step": 15, "reward": 0.51239, "time/rewards_share": 0.04},
        {"train_runtime": 3.0, "step": 15},
    ]
    before = plot(read(mine, ""), ["em"])
    for seed in (1, 2):
        mine.folder(seed, "full").mkdir(parents=True, exist_ok=True)
        lines(mine.folder(seed, "full") / "metrics.jsonl", steps)
    results = read(mine, "")
    runs = results.by_run
    assert (runs["full", 1].curve, runs["full", 1].reward_share) == (((5, 0.25), (15, 0.5124)), 0.025)
    assert (runs["bare", 1].curve, runs["bare", 1].reward_share) == ((), None)
    assert load([results_file(results, "all.json")]) == results
    body = {row[0]: row[-1] for row in mean_table(results, ["em"]).body}
    assert body == {"full": "2.5%", "bare": "-"}
    picture = plot(results, ["em"])
    assert "full: reward" in picture
    assert "full: reward" not in before
    assert "bare: reward" not in picture
    assert picture.count("stroke-width: 0.9") == 2, "a line a seed"


def test_an_evaluation_that_is_not_done_has_no_figures(mine):
    folder = evaluation_folder(mine, 2, "bare")
    folder.with_name(f"{folder.name}.done.json").unlink()
    assert [(run.stage, run.seed) for run in read(mine, "").runs if not run.figures] == [("bare", 2)]


def test_files_of_parts_say_what_the_folders_say(mine, capsys):
    """Through the command, to the byte: tables, plot and the file itself, whatever the order of the files."""
    whole = read(mine, "rlkit ablate mine.yaml --seeds 1 2")
    first, second = parts_of(whole)
    assert load([first, second]).runs == load([second, first]).runs == whole.runs
    assert load([first, second]).commands == tuple(f"rlkit ablate mine.yaml --seeds {seed}" for seed in (1, 2))
    capsys.readouterr()
    assert main(["ablate", "mine.yaml", "--show"]) == 0
    shown = capsys.readouterr().out
    assert main(["ablate", "--from", "seed2.json", "seed1.json", "--out", "kept"]) == 0
    assert capsys.readouterr().out == shown + "written to kept: results.json, table.md, plot.svg\n"
    assert main(["ablate", "--from", "kept/results.json", "--out", "again"]) == 0
    kept, again = ({path.name: path.read_bytes() for path in (mine.output_dir.parent / name).iterdir()} for name in ("kept", "again"))  # fmt: skip
    assert sorted(kept) == ["plot.svg", "results.json", "table.md"]
    assert kept == again
    data = json.loads(kept["results.json"])
    told = {one["metric"]: one for one in data["effects"] if one["subset"] == "rows"}["em"]
    assert (told["variant"], told["against"], told["difference"], told["seeds"]) == ("bare", "full", -0.625, 2)
    assert max(map(len, kept["results.json"].splitlines())) < 400  # a line a run, for whoever reads what changed


def test_parts_of_other_settings_or_with_a_seed_twice_are_refused(mine):
    first, second = parts_of(read(mine, ""))
    with pytest.raises(ConfigError, match=r"seed2.json: seed 1 of full stands in seed1.json as well"):
        load([first, changed(second, lambda data: [run.update(seed=1) for run in data["runs"]])])
    first, second = parts_of(read(mine, ""))
    with pytest.raises(ConfigError, match=r"(?s)seed2.json: .*configs.grpo.yaml.train.max_steps: 1 -> 7"):
        load(
            [first, changed(second, lambda data: data["settings"]["configs"]["grpo.yaml"]["train"].update(max_steps=7))]
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda here: rewritten(here / "mine.yaml", "1.0e-05", "2.0e-05"),
            "bare.done.json.*learning_rate: 1e-05 -> 2e-05",
        ),
        (lambda here: rewritten(here / "suite.yaml", "f1", "format"), "evaluation.done.json.*metrics"),
        (lambda here: rewritten(here / "rows.jsonl", "a b c d", "a b c e"), "rows.jsonl: is another one now"),
    ],
)
def test_old_figures_are_not_told_as_those_of_new_settings(mine, change, words, capsys):
    """Whatever was edited since: the file, the suite, or the rows behind both; and --only looks at the others as well."""
    assert main(["ablate", "mine.yaml", "--show"]) == 0
    change(Path.cwd())
    for more in (["--show"], ["--show", "--out", "kept"], ["--only", "full"], ["--dry-run"]):
        assert main(["ablate", "mine.yaml", *more]) == 2
        assert re.search(f"(?s){words}", capsys.readouterr().err)
    assert not Path("kept").exists()


def test_files_that_were_made_of_other_rows_are_not_put_together(mine):
    """The settings are the same, and the rows that they name are not."""
    first, _ = parts_of(read(mine, ""))
    rewritten(Path("rows.jsonl"), "a b c d", "a b c e")
    results = read(mine, "")
    other = results_file(replace(results, runs=tuple(run for run in results.runs if run.seed == 2)), "other.json")
    with pytest.raises(ConfigError, match=r"(?s)other.json: was made with other settings.*files.rows.jsonl"):
        load([first, other])


def test_another_seed_does_not_take_the_place_of_those_that_are_there(mine, monkeypatch):
    monkeypatch.setattr("rlkit.ablate._run", lambda *given: 0)
    assert main(["ablate", "mine.yaml", "--seeds", "3"]) == 0
    assert load([mine.output_dir]).seeds == [1, 2, 3]
    assert load([mine.output_dir]).commands == ("rlkit ablate mine.yaml --seeds 1 2 3",)


def test_a_missing_file_is_told_before_anything_runs(mine, monkeypatch, capsys):
    monkeypatch.setattr("rlkit.ablate._run", lambda *given: pytest.fail("started"))
    Path("rows.jsonl").unlink()
    assert main(["ablate", "mine.yaml", "--seeds", "7"]) == 2
    said = capsys.readouterr().err
    assert "there is no such file: rows.jsonl (seed7/full)" in said
    assert "nothing was started" in said


def rewritten(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_a_reward_of_a_variant_alone_is_part_of_the_settings(mine, monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("my_part_of_results.py").write_text(
        "def part(completions, **columns):\n    return [1.0 for _ in completions]\n"
    )
    values = yaml.safe_load(Path("mine.yaml").read_text())
    values["variants"]["bare"] = {"set": {"rewards": {"mine": {"use": "my_part_of_results:part", "weight": 1}}}}
    told = settings_of(parse_ablation(values))["files"]
    assert {"rows.jsonl", "my_part_of_results.py"} == {Path(path).name for path in told}


def test_what_is_no_results_file_is_named(mine, capsys):
    first, _ = parts_of(read(mine, ""))
    assert main(["ablate", "--from", "none.json"]) == 2
    assert "none.json: there is no such file" in capsys.readouterr().err
    assert main(["ablate", "--from", "seed1.json", "--metrics", "emm"]) == 2
    assert "'emm' was not measured; there are em, f1. Did you mean 'em'?" in capsys.readouterr().err
    assert main(["ablate", "mine.yaml", "--from", "seed1.json"]) == 2
    assert "mine.yaml means nothing beside it" in capsys.readouterr().err
    for more in (["--seeds", "1"], ["--only", "full"], ["--jobs", "1"], ["--jobs", "0"], ["--dry-run"], ["--show"]):
        assert main(["ablate", "--from", "seed1.json", *more]) == 2
        assert f"{more[0]} means nothing beside it" in capsys.readouterr().err
    assert main(["ablate", "mine.yaml", "--metrics", "emm"]) == 2  # before anything runs
    assert "'emm' was not measured; there are em, f1" in capsys.readouterr().err
    assert main(["ablate"]) == 2
    assert "name a config" in capsys.readouterr().err
    for damage in (
        lambda data: data.pop("runs"),
        lambda data: data["settings"].pop("title"),
        lambda data: data["runs"][0]["values"].pop(),
        lambda data: data["figures"][0].pop(),
        lambda data: data.update(runs=[]),
        lambda data: data.update(versions=["x"]),
        lambda data: data["runs"][0].update(seed="1"),
        lambda data: data["runs"][0].update(stage="ful"),
        lambda data: data["runs"][0].update(failures="oops"),
        lambda data: data["runs"][0].update(failures=[1]),
        lambda data: data["runs"][0].update(seconds=None),
        lambda data: data["runs"][0]["seconds"].update(made="60"),
        lambda data: data["runs"][0].update(reward_share="0.1"),
        lambda data: data["runs"][0]["values"].__setitem__(0, "0.5"),
        lambda data: data["runs"][0]["values"].__setitem__(0, math.nan),
        lambda data: data["runs"][0]["counts"].__setitem__(0, True),
        lambda data: data["settings"].update(differences={"x": ["full"]}),
        lambda data: data["settings"].update(differences={"x": ["full", "bar"]}),
    ):
        parts_of(read(mine, ""))
        with pytest.raises(DataError, match=r"seed1.json: is no results.json of `rlkit ablate`"):
            load([changed(first, damage)])


def test_a_file_of_endless_brackets_is_no_results_file(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep.json: is no results.json of `rlkit ablate`"):
        load([tmp_path / "deep.json"])


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", None])
@pytest.mark.parametrize("name", ["bare.done.json", "full.failed.json", "bare.evaluation/results.json"])
def test_a_damaged_folder_is_named(mine, capsys, name, text):
    path = mine.folder(1, "x").parent / name
    if text is None:
        path.unlink(missing_ok=True)
    else:
        (mine.folder(1, "full").parent / "full.done.json").unlink()
        path.write_text(text)
    there = text is None and name != "bare.evaluation/results.json"  # a note that is gone says that nothing was made
    assert main(["ablate", "mine.yaml", "--show"]) == (0 if there else 2)
    assert there or f"{path}: cannot be read" in capsys.readouterr().err


def test_seeds_that_are_there_stay_in_the_results(mine, capsys):
    """The file was cut down to one seed; both were measured with its settings."""
    values = yaml.safe_load(Path("mine.yaml").read_text())
    Path("mine.yaml").write_text(yaml.safe_dump({**values, "seeds": [1]}))
    capsys.readouterr()
    seeds = []
    for chosen in ([], ["--seeds", "2"]):
        assert main(["ablate", "mine.yaml", "--show", "--json", *chosen]) == 0
        seeds.append({run["seed"] for run in json.loads(capsys.readouterr().out)["runs"]})
    assert seeds == [{1, 2}, {2}]


@pytest.mark.filterwarnings("error")
def test_curves_that_never_move_are_drawn(mine):
    runs = tuple(replace(run, curve=((5, 0.25), (10, 0.25))) for run in read(mine, "").runs)
    assert "full: reward" in plot(replace(read(mine, ""), runs=runs), ["em"])


def test_failures_are_read_from_notes_and_logs(mine):
    folder = mine.folder(1, "full")
    folder.with_name("full.done.json").unlink()
    folder.with_name("full.failed.json").write_text(
        json.dumps({"words": "Traceback\nno memory for this\n", "exit_code": 1})
    )
    folder = evaluation_folder(mine, 2, "full")
    folder.with_name("full.evaluation.done.json").unlink()
    folder.with_name("full.evaluation.failed.json").write_text(json.dumps({"words": "", "exit_code": -9}))
    folder = mine.folder(2, "bare")
    folder.mkdir()
    lines(folder / "metrics.jsonl", STEPS)
    lines(folder / "alarms.jsonl", [{"step": 15, "kind": "group_collapse"}])
    results = load([results_file(read(mine, ""), "all.json")])
    told = {(run.stage, run.seed): run.failures for run in results.runs if run.failures}
    assert told == {
        ("full", 1): ("could not be made: no memory for this",),
        ("full", 2): ("could not be evaluated (ended by SIGKILL): it said nothing",),
        ("bare", 2): ("the reward ended at 0.100; its best was 0.900",),
    }
    assert [run.alarms for run in results.runs if run.alarms] == [("group_collapse at step 15",)]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (STEPS, ["the reward ended at 0.100; its best was 0.900"]),
        ([{"reward": 0.9}, {"reward": 0.65}], ["the reward ended at 0.650; its best was 0.900"]),
        (STEPS[:15], []),
        (STEPS[::-1], []),  # it rose
        ([{"reward": 0.9}, *[{"reward": 0.5}] * 39], []),  # one lucky step is no best
        ([{"reward": 0.9 - 0.15 * (n > 5)} for n in range(20)], []),  # less than a fifth of what the reward spans
        (
            [{"loss": math.nan}, {"loss": 1.0, "grad_norm": math.inf}],
            ["loss: no number at 1 of 2 logged steps", "grad_norm: no number at 1 of 1 logged steps"],
        ),
        ([{"loss": 1.0}, {"train_runtime": 3.0}], []),
        ([], []),
    ],
)
def test_what_a_log_says_of_a_trainings_health(steps, words):
    assert what_went_wrong(steps, span=1.0) == words


def test_the_report_shows_a_training_that_failed(mine, caplog):
    """Its curve says how; a report of those alone that ended well would not."""
    for name in ("full", "bare"):
        folder = evaluation_folder(mine, 1, name)
        folder.with_name(f"{folder.name}.done.json").unlink()
    folder = mine.folder(1, "full")
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(mine.config(1, "full").to_dict()))
    lines(folder / "metrics.jsonl", STEPS)
    _report(mine, read(mine, ""))
    assert "1 run, 0 completions" in caplog.text


def test_the_span_of_the_reward_decides_what_is_far(mine):
    assert what_went_wrong(STEPS, span=5.0) == []


def test_a_plot_shows_every_seed_and_difference_and_tells_of_itself(mine):
    results = read(mine, "")
    picture = plot(results, ["em", "f1"])
    assert picture == plot(load([results_file(results, "all.json")]), ["em", "f1"])
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.findtext(f"{space}title") == "Two variants"
    assert "2 stages over seeds 1, 2." in root.findtext(f"{space}desc")
    assert "prefers-color-scheme: dark" in root.findtext(f"{space}style")
    texts = [element.text for element in root.iter(f"{space}text")]
    for words in ("full", "bare", "bare - full", "rows em", "rows f1"):
        assert words in texts
    dots = [use for use in root.iter(f"{space}use") if "fill: #6e7781" in use.get("style", "")]
    assert len(dots) == 2 * 2 * 2  # metrics, variants, seeds
    assert "/20" not in picture.partition("<defs>")[0].replace("http://www.w3.org/20", "").replace("1999/02", "")


def test_a_long_name_has_room(mine):
    """Names end where the panels begin, in a margin as wide as the longest: a letter of 8 points takes 4.7 on average."""
    name = "a name that is longer than any other name of a difference"
    results = read(mine, "")
    results = replace(results, settings={**results.settings, "differences": {name: ["full", "bare"]}})
    texts = ElementTree.fromstring(plot(results, ["em"])).iter("{http://www.w3.org/2000/svg}text")
    (written,) = (text for text in texts if text.text == name)
    assert "text-anchor: end" in written.get("style")
    assert float(written.get("x")) > 4.7 * len(name)


def test_colour_says_which_differences_exclude_zero(mine):
    results = read(mine, "")
    blue, orange, grey = "stroke: #0969da", "stroke: #bc4c00", "stroke: #8c959f"

    def colours(of_bare):
        runs = [run if run.stage == "full" else replace(run, figures=dict.fromkeys(run.figures, of_bare[run.seed - 1])) for run in results.runs]  # fmt: skip
        picture = plot(replace(results, runs=tuple(runs)), ["em"]).partition("</style>")[2]
        return [colour for colour in (blue, orange, grey) if colour in picture]

    assert colours([0.1, 0.101]) == [orange]
    assert colours([1.9, 1.901]) == [blue]
    assert colours([0.1, 0.9]) == [grey]


def test_the_command_makes_the_results_wherever_they_lie(mine, capsys):
    capsys.readouterr()
    assert main(["ablate", "mine.yaml", "title=Other", "output_dir=out", "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commands"] == ["rlkit ablate mine.yaml title=Other --seeds 1 2"]


def test_without_matplotlib_the_rest_is_there(mine, monkeypatch, caplog, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["ablate", "mine.yaml", "--show", "--out", "kept"]) == 0
    assert "pip install 'grounded-rl[eval]'" in caplog.text
    assert "written to kept: results.json, table.md\n" in capsys.readouterr().out
    assert "rlkit ablate --from kept/results.json --out kept" in caplog.text
    assert sorted(path.name for path in (mine.output_dir.parent / "kept").iterdir()) == ["results.json", "table.md"]
