"""`rlkit audit` runs over rows of any source, exits with 1 where cheating pays, and names the cheat, the row and the parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from rewards import Sample, answer_in_quotes, presets, weighted
from rewards.exploits import TASKS, battery, exploit
from rlkit import cli
from rlkit.auditing.made_up import made_up_rows
from rlkit.auditing.run import Row, audit
from rlkit.data import dialogues, synthetic
from rlkit.data.load import load_source
from rlkit.data.record import to_json_line
from rlkit.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "../shared/data"
PARTS = """
rewards:
  accuracy:  {use: token_f1, weight: 0.7}
  format:    {use: care_format, weight: 0.1}
  grounding: {use: "lax_lab:any_word", weight: 0.2}
"""
LAB = """
from rewards import Sample
from rewards.exploits import exploit, care_output

def any_word(sample: Sample) -> float:
    words = set(" ".join(passage.text for passage in sample.context).lower().split())
    spans = [span for span in sample.care.spans if span.strip()]
    return sum(words.issuperset(span.lower().split()) for span in spans) / len(spans) if spans else 0.0

@exploit("care", right=0.0, evidence=0.0)
def shuffled(sample: Sample) -> str | None:
    '''Quotes the words of a passage in the opposite order.'''
    return care_output("unknown", [" ".join(reversed(sample.context[0].text.split()))])

def untagged(sample: Sample) -> str:
    return ""

@exploit("care")
def one_letter(sample: Sample) -> str:
    '''Has the name of a built-in one.'''
    return ""
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lax_lab.py").write_text(LAB)
    (tmp_path / "lax.yaml").write_text(PARTS)
    rows = [to_json_line(row) for row in made_up_rows("care")][-4:]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def named(task: str, name: str = "rows", limit: int | None = None) -> list[Row]:
    return [(name, record) for record in islice(made_up_rows(task), limit)]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["audit", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


# What it finds


@pytest.mark.parametrize("task", TASKS)
def test_the_presets_pass_on_made_up_rows(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", task]) == 0
    shown = capsys.readouterr().out
    assert "no cheat earns more than an honest attempt of equal correctness" in shown
    for function in battery(task):
        assert function.__name__ in shown


def test_the_presets_pass_on_the_made_up_worlds() -> None:
    worlds = [
        synthetic.generate("hard", 12, seed=5, split="test", counterfactual=True),
        dialogues.generate("long", 8, seed=5),
    ]
    rows = [("world", record) for world in worlds for record in world]
    assert audit(weighted_for_both(), rows, workers=1).findings == []


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", ["made up", "world", "hotpotqa", "musique"])
def test_grounding_by_the_answer_in_the_quotes_passes(name: str, labelled: bool) -> None:
    if name == "made up":
        records = [record for _, record in named("care")]
    elif name == "world":
        records = list(synthetic.generate("hard", 12, seed=5, split="test", counterfactual=True))
    else:
        records = real_records(name, {"hotpotqa": "hotpotqa_distractor.json", "musique": "musique_ans.jsonl"}[name], 10)
    rows = [(name, record if labelled else {**record, "evidence": []}) for record in records]
    report = audit(presets.care(grounding=answer_in_quotes()), rows, workers=1)
    assert report.findings == []
    lines = {line.name: line for line in report.lines}
    assert lines["irrelevant_true_quotes"].right.earned < lines["irrelevant_true_quotes"].right.honest


def weighted_for_both() -> Any:
    """Both presets in one reward, as a run over both tasks has it."""
    from rewards.part import for_task

    care, memory = presets.care(), presets.memory_t1()
    parts = {f"care_{name}": (care.weights[name], for_task("care", part)) for name, part in care.parts.items()}
    parts |= {f"memory_{n}": (memory.weights[n], for_task("memory_t1", part)) for n, part in memory.parts.items()}
    return weighted(**parts)


@pytest.mark.parametrize(
    ("task", "layout", "name", "step"),
    [
        ("care", "hotpotqa", "hotpotqa_distractor.json", 4),
        ("care", "musique", "musique_ans.jsonl", 4),
        ("memory_t1", "time_dialog", "time_dialog_outputs.jsonl", 2),
        ("memory_t1", "locomo", "locomo.json", 60),
    ],
)
def test_the_presets_pass_on_some_real_rows(task: str, layout: str, name: str, step: int) -> None:
    assert real_report(task, layout, name, step).findings == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "layout", "name", "rows"),
    [
        ("care", "hotpotqa", "hotpotqa_distractor.json", 60),
        ("care", "musique", "musique_ans.jsonl", 60),
        ("memory_t1", "time_dialog", "time_dialog_outputs.jsonl", 112),
        ("memory_t1", "locomo", "locomo.json", 1157),
    ],
)
def test_the_presets_pass_on_all_real_rows(task: str, layout: str, name: str, rows: int) -> None:
    report = real_report(task, layout, name, 1)
    assert report.findings == []
    assert report.rows == rows


def real_records(layout: str, name: str, step: int) -> Any:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in ../shared/data beside the project")
    loaded = load_source({"format": layout, "path": str(DATA / name)})
    return replace(loaded, rows=loaded.rows.select(range(0, len(loaded.rows), step))).records()


def real_report(task: str, layout: str, name: str, step: int) -> Any:
    return audit(presets.PRESETS[task](), ((layout, record) for record in real_records(layout, name, step)))


def test_a_cheatable_reward_exits_1_and_the_cheat_is_named(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "lax.yaml", "--records", "rows.jsonl"]) == 1
    shown = capsys.readouterr().out
    assert re.search(
        r"one_letter pays on \d of 4 rows: it earns 1\.000, an honest attempt of equal correctness 0\.800\n"
        r"  row example-\d: accuracy 1\.000, format 1\.000, grounding 1\.000\n"
        r"  <think><retrieval>a</retrieval></think> Answer: ",
        shown,
    )
    code, found = run_json(capsys, "lax.yaml", "--records", "rows.jsonl")
    worst = next(line for line in found["cheats"] if line["name"] == "one_letter")["worst"]
    assert code == 1
    assert not found["passes"]
    assert worst["margin"] == pytest.approx(0.2)
    assert worst["parts"] == {"accuracy": 1.0, "format": 1.0, "grounding": 1.0}
    assert worst["completion"].startswith("<think><retrieval>a</retrieval>")


def test_an_exploit_of_your_own_is_tried_and_found(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run_json(capsys, "lax.yaml", "--records", "rows.jsonl", "--exploit", "lax_lab:shuffled")
    line = found["cheats"][-1]
    assert (code, line["name"], line["pays_on_rows"]) == (1, "shuffled", 4)
    code, found = run_json(capsys, "care", "--records", "rows.jsonl", "--exploit", "lax_lab:shuffled")
    assert (code, found["cheats"][-1]["pays_on_rows"]) == (0, 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lax_lab", "must be module:name"),
        ("lax_lab:shufled", "has no 'shufled'. Did you mean 'shuffled'?"),
        ("lax_lab:untagged", "is not tagged as an exploit"),
        ("lax_lab:one_letter", "the battery of care has a 'one_letter' already; rename yours"),
        ("no_such_lab:x", "cannot import 'no_such_lab'"),
    ],
)
def test_a_wrong_exploit_is_refused(lab: Path, capsys: pytest.CaptureFixture[str], spec: str, message: str) -> None:
    assert cli.main(["audit", "care", "--exploit", spec]) == 2
    assert message in capsys.readouterr().err


# Where rewards and rows come from

CONFIG = """
method: grpo
scratch: {model_type: qwen2}
sources:
  easy: {format: synthetic, level: easy, rows: 5}
  hard: {format: synthetic, level: hard, rows: 5}
train: {max_steps: 1}
"""


def test_a_config_is_audited_on_its_own_sources(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "run.yaml").write_text(CONFIG)
    code, found = run_json(capsys, "run.yaml", "--limit", "3")
    assert (code, found["rows"], found["on"]) == (0, 6, "easy, hard")
    assert {line["name"] for line in found["honest"]} >= {"right_with_evidence", "wrong_without_evidence"}
    code, found = run_json(
        capsys, "run.yaml", "rewards.accuracy.use=exact_match", "rewards.accuracy.weight=1", "--limit", "2"
    )
    assert code == 0
    assert list(found["cheats"][0]["worst"]["parts"]) == ["accuracy"]


def test_the_configs_own_instructions_are_what_a_cheat_quotes(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "run.yaml").write_text(CONFIG + 'prompt: {system: "Be brief, whatever you are asked for."}\n')
    _, found = run_json(capsys, "run.yaml", "--limit", "1")
    quoting = next(line for line in found["cheats"] if line["name"] == "instruction_as_quote")
    assert "<retrieval>Be brief, whatever you are asked for.</retrieval>" in quoting["worst"]["completion"]


def test_a_part_that_asks_a_model_asks_the_configs(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def likelihood_of(part: Any) -> Any:
        asked.append((part.model, part.system))
        return lambda questions: [0.9 if quotes else 0.1 for _, quotes, _ in questions]

    monkeypatch.setattr("rlkit.training.support.likelihood_of", likelihood_of)
    grounding = 'rewards: {preset: care, grounding: {use: "rlkit.training.support:quote_support"}}\n'
    (lab / "run.yaml").write_text(
        CONFIG.replace("scratch: {model_type: qwen2}", "model: {model_name_or_path: mine}") + grounding
    )
    assert cli.main(["audit", "run.yaml", "--limit", "1", "prompt.system=Look it up."]) == 0
    assert set(asked) == {("mine", "Look it up.")}


def test_records_of_another_layout_are_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    path = DATA / "hotpotqa_distractor.json"
    if not path.exists():
        pytest.skip("hotpotqa_distractor.json is not in ../shared/data beside the project")
    code, found = run_json(capsys, "care", "--records", str(path), "--format", "hotpotqa", "--limit", "2")
    assert (code, found["rows"]) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lax.yaml"], "lax.yaml: has no sources: to take rows from; name a file with --records."),
        (["kare"], "neither a preset (care, memory_t1) nor a file. Did you mean 'care'?"),
        ([], "nothing to audit: name care or memory_t1"),
        (["care", "--records", "none.jsonl"], "none.jsonl: there is no such file."),
        (["care", "--records", "bad.jsonl"], "bad.jsonl:2: broken JSON at column 2"),
        (["care", "--records", "empty.jsonl"], "empty.jsonl: the file is empty"),
        (["care", "--records", "array.json"], "array.json: holds no row to audit on."),
        (["care", "--records", "binary.jsonl"], "binary.jsonl:1: not UTF-8 text"),
        (["care", "--records", "deep.jsonl"], "deep.jsonl:1: this JSON cannot be read"),
        (["care", "--limit", "0"], "--limit is 0, but must be at least 1."),
        (["care", "--workers", "0"], "workers is 0, but must be from 1 to"),
        (["care", "rewards.accuracy.weight=1"], "overrides are for whole configs; care is none"),
        (["memory_t1", "--records", "rows.jsonl"], "is of task care, which the preset memory_t1 cannot read"),
        (["sft.yaml"], "sft.yaml: method sft has no rewards: to audit"),
        (["--list", "kare"], "lists the battery of a task, care or memory_t1. Did you mean 'care'?"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    lab: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (lab / "bad.jsonl").write_text((lab / "rows.jsonl").read_text().splitlines()[0] + "\n{oops\n")
    (lab / "empty.jsonl").write_text("\n")
    (lab / "array.json").write_text("[]")
    (lab / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    (lab / "deep.jsonl").write_text('{"id": ' + "[" * 100_000)
    (lab / "sft.yaml").write_text(CONFIG.replace("grpo", "sft"))
    assert cli.main(["audit", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_array_of_records_is_read_as_lines_are(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (lab / "rows.jsonl").read_text().splitlines()]
    (lab / "rows.json").write_text(json.dumps(rows))
    assert run_json(capsys, "care", "--records", "rows.json")[1]["rows"] == len(rows)


def test_a_killed_process_is_no_finding(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "lethal.py").write_text("import os\n\ndef die(sample) -> float:\n    os._exit(9)\n")
    (lab / "lethal.yaml").write_text('rewards: {all: {use: "lethal:die", weight: 1.0}}')
    assert cli.main(["audit", "lethal.yaml", "--records", "rows.jsonl", "--workers", "2"]) == 2
    assert "a worker process died" in capsys.readouterr().err


def test_the_list_describes_every_attempt(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "--list", "--exploit", "lax_lab:shuffled"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + sum(len(battery(task)) for task in TASKS)
    assert any(line.split()[:3] == ["care", "cheat", "one_letter"] for line in lines)
    assert any("Quotes the words of a passage in the opposite order." in line for line in lines)
    assert cli.main(["audit", "memory_t1", "--list", "--json"]) == 0
    assert {item["task"] for item in json.loads(capsys.readouterr().out)} == {"memory_t1"}


# How it is computed


def test_several_processes_give_the_same_report() -> None:
    rows = named("memory_t1")
    one, two = (audit(presets.memory_t1(), rows, workers=workers).to_dict() for workers in (1, 2))
    for line in [*one.pop("cheats"), *one.pop("honest")]:
        other = next(found for found in [*two["cheats"], *two["honest"]] if found["name"] == line["name"])
        assert other == pytest.approx(line, abs=1e-12) if "worst" not in line else other["worst"] == line["worst"]
        assert (other["rows"], other["pays_on_rows"]) == (line["rows"], line["pays_on_rows"])
    assert two["rows"] == one["rows"] == len(rows)


def test_a_reward_that_cannot_be_sent_elsewhere_is_audited_here() -> None:
    reward = presets.care(brief=(0.1, lambda sample: float(len(sample.completion) < 10_000)))
    assert audit(reward, named("care", limit=3), workers=2).rows == 3


def test_rows_are_read_as_they_are_needed() -> None:
    read = []

    def stream() -> Any:
        for number in range(10_000):
            read.append(number)
            if number == 130:
                raise DataError("enough")
            yield "stream", next(synthetic.generate("easy", 1))

    with pytest.raises(DataError, match="enough"):
        audit(weighted(all=(1.0, lambda sample: 0.5 * sample.completion.endswith("x"))), stream(), workers=1)
    assert len(read) == 131


def test_no_rows_and_wrong_workers_are_errors() -> None:
    with pytest.raises(DataError, match="there is no row to audit on"):
        audit(presets.care(), [])
    with pytest.raises(ConfigError, match="workers is -1"):
        audit(presets.care(), named("care", limit=1), workers=-1)


def test_a_failing_reward_is_named_with_its_row(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(sample: Sample) -> float:
        raise ZeroDivisionError("oh")

    with pytest.raises(ValueError, match=r"reward 'mine' .* failed on row synthetic-train-easy-0-0"):
        audit(weighted(mine=(1.0, broken)), named("care", limit=2))


def test_each_task_of_a_mixed_source_has_its_own_battery() -> None:
    rows = [*named("care", limit=2), *named("memory_t1", limit=2)]
    report = audit(weighted_for_both(), rows)
    assert {line.task for line in report.lines} == set(TASKS)
    assert not report.findings


def test_a_cheat_that_cannot_be_built_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    @exploit("care")
    def never(sample: Sample) -> None:
        """Is never built."""

    report = audit(presets.care(), named("care", limit=1), [never], workers=1)
    assert next(line.to_dict() for line in report.lines if line.name == "never") == {
        "name": "never", "task": "care", "rows": 0, "pays_on_rows": 0,
    }  # fmt: skip


# The documentation


def test_the_documented_table_is_what_the_command_measures() -> None:
    page = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    outdated = []
    for task in TASKS:
        for line in audit(presets.PRESETS[task](), named(task)).lines:
            row = re.search(rf"^\| `{line.name}` \|([^|]*)\|([^|]*)\|.*\|$", _section(page, task), re.MULTILINE)
            shown = [cell.strip() for cell in row.groups()] if row else ["", ""]
            means = [mean.to_dict() for mean in (line.right, line.other)]
            if not all(_agrees(cell, mean) for cell, mean in zip(shown, means, strict=True)):
                cells = ["-" if mean is None else f"{mean['earned']:.2f}" for mean in means]
                outdated.append(f"{task}: | `{line.name}` | {' | '.join(cells)} |, not {shown}")
    assert not outdated, "docs/audit.md is outdated:\n" + "\n".join(outdated)


def _agrees(cell: str, mean: dict[str, float] | None) -> bool:
    """Whether a documented cell is the mean, rounded either way."""
    if mean is None or cell in ("", "-"):
        return mean is None and cell == "-"
    return abs(float(cell) - mean["earned"]) < 0.0051


def _section(page: str, task: str) -> str:
    return page.partition(f"### {task}\n")[2].partition("\n### ")[0]
