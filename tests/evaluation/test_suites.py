"""The shipped suites: each parses, its data loads in the published layouts, gold scores 1, real outputs score per task."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from rewards import Sample
from rlkit.data.layout import Report
from rlkit.data.load import LAYOUTS, load_source
from rlkit.data.locomo import SUBTASKS
from rlkit.data.time_dialog import KINDS
from rlkit.evaluation.contexts import Policy, show
from rlkit.evaluation.controls import gold
from rlkit.evaluation.metrics import METRICS
from rlkit.evaluation.published import published_table
from rlkit.evaluation.suite import load_suite, suite_names

MADE_UP = ("synthetic", "dialogues", "synthetic_fidelity")
EXPECTED = {
    "longbench": ["multifieldqa_en", "hotpotqa", "2wikimqa", "musique"],
    "longbench_original": ["multifieldqa_en", "hotpotqa", "2wikimqa", "musique"],
    "longbench_evidence": ["hotpotqa"],
    "cofca": ["2hop_qa"],
    "hotpotqa": ["hotpotqa"],
    "2wikimultihopqa": ["2wikimultihopqa"],
    "musique": ["musique"],
    "time_dialog": ["time_dialog"],
    "locomo": ["locomo"],
    "synthetic": ["easy", "hard", "long"],
    "dialogues": ["easy", "hard", "long"],
    "synthetic_fidelity": ["easy", "hard"],
}


@pytest.fixture(scope="module")
def slices() -> Path:
    folder = Path(__file__).resolve().parents[2] / "../shared/data"
    if not folder.is_dir():
        pytest.skip(f"the slices of real data are not there ({folder})")
    return folder


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Load a subset of a suite, with its source changed, as an evaluation does."""
    folder = tmp_path_factory.mktemp("cache")

    def loader(suite: str, subset: str, **changes: Any):
        data = load_suite(suite, {"data": {subset: changes}} if changes else None).data[subset]
        return load_source(dict(data), f"suites.{suite}.data.{subset}", cache_dir=folder)

    return loader


def score(metric: str, record: Any, completion: str) -> Any:
    return METRICS[metric](Sample.from_record(record, completion=completion))


# the files


def test_all_suites_of_the_papers_are_there():
    assert {name: list(load_suite(name).data) for name in suite_names()} == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_suite_names_exists(name):
    suite = load_suite(name)
    for spec in suite.data.values():
        assert spec["format"] in (*LAYOUTS, *MADE_UP)
    assert "full" in suite.contexts
    assert {"form_care", "form_memory", "form_plain"} <= set(suite.metrics) or name == "longbench_evidence"
    subsets = {"time_dialog": {*KINDS}, "locomo": {*SUBTASKS.values()}}.get(name, {*suite.data})
    for key in suite.table.published:
        for column in published_table(key).columns:
            assert column.subset in {*subsets, *suite.table.groups, "overall"}
            assert column.metric in suite.metrics


def test_the_categories_of_time_dialog_hold_each_task_once():
    groups = load_suite("time_dialog").table.groups
    assert sorted(task for tasks in groups.values() for task in tasks) == sorted(KINDS)
    assert [len(tasks) for tasks in groups.values()] == [5, 3, 3]


# data in the published layouts

LONGBENCH = {
    "multifieldqa_en": "Read the following text and answer briefly.\n\nThe sample was 40 people.\n\nNow, answer the following question "
    "based on the above text, only give me the answer and do not output any other words.\n\nQuestion: How large?\nAnswer:",
    "hotpotqa": "Answer the question based on the given passages. Only give me the answer and do not output any other words.\n\nThe "
    "following are given passages.\nPassage 1:\nEmma\nEmma is by Jane Austen.\nPassage 2:\nBath\nA city.\n\nAnswer the question "
    "based on the given passages. Only give me the answer and do not output any other words.\n\nQuestion: How large?\nAnswer:",
}
LONGBENCH["2wikimqa"] = LONGBENCH["musique"] = LONGBENCH["hotpotqa"]


def longbench_rows(subset: str) -> list[dict[str, Any]]:
    passages = "Passage 1:\nEmma\nEmma is by Jane Austen.\nPassage 2:\nBath\nA city."
    context = "The sample was 40 people." if subset == "multifieldqa_en" else passages
    columns = {"length": 5, "dataset": subset, "language": "en", "all_classes": None}
    return [{**columns, "_id": "r1", "input": "How large?", "context": context, "answers": ["40 people", "40"]}]


@pytest.mark.parametrize("subset", EXPECTED["longbench_original"])
def test_longbench_is_asked_as_published(load, tmp_path, subset):
    path = tmp_path / f"{subset}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in longbench_rows(subset)))
    loaded = load("longbench_original", subset, path=str(path))
    suite = load_suite("longbench_original")
    (record,) = loaded.records()
    shown = show(record, Policy(), suite.prompt, subset, None, Report())
    assert shown.messages == [{"role": "user", "content": LONGBENCH[subset]}]
    assert [record["dataset"], record["length"]] == [subset, 5]
    assert score("f1", record, "40") == 1.0
    care = load_suite("longbench")
    assert [message["role"] for message in show(record, Policy(), care.prompt, subset, None, Report()).messages] == [
        "system",
        "user",
    ]


def test_cofca_rows_and_facts_for_longbench_load(load, tmp_path):
    rows = longbench_rows("hotpotqa")
    (tmp_path / "2hop_qa.jsonl").write_text(json.dumps({**rows[0], "dataset": "2hop_qa"}) + "\n")
    assert len(load("cofca", "2hop_qa", path=str(tmp_path / "2hop_qa.jsonl")).rows) == 1
    fact = {"_id": "5a", "question": "How large?", "answer": "40", "supporting_facts": [["Emma", 0]]}
    (tmp_path / "dev.json").write_text(json.dumps([{**fact, "context": [["Emma", ["Emma is by Jane Austen."]]]}]))
    (tmp_path / "hotpotqa.jsonl").write_text(json.dumps(rows[0]) + "\n")
    loaded = load(
        "longbench_evidence", "hotpotqa", path=str(tmp_path / "hotpotqa.jsonl"), facts=str(tmp_path / "dev.json")
    )
    (record,) = loaded.records()
    quoted = "<think><retrieval>Emma is by Jane Austen.</retrieval></think> Answer: 40"
    assert score("evidence_rouge_l", record, quoted) == pytest.approx(1.0)


def test_2wikimultihopqa_loads_with_other_names_of_answers(load, tmp_path):
    row = {
        "_id": "w1",
        "type": "compositional",
        "question": "Who is the mother of the director of Emma?",
        "context": [["Emma", ["Emma is a film by Ann Lee."]], ["Ann Lee", ["She is the daughter of Bo Lee."]]],
        "supporting_facts": [["Emma", 0], ["Ann Lee", 0]],
        "evidences": [],
        "answer": "Bo Lee",
        "answer_id": "Q1",
    }
    (tmp_path / "dev.json").write_text(json.dumps([row]))
    (tmp_path / "id_aliases.json").write_text(json.dumps({"Q_id": "Q1", "aliases": ["B. Lee"], "demonyms": []}) + "\n")
    loaded = load(
        "2wikimultihopqa", "2wikimultihopqa", path=str(tmp_path / "dev.json"), aliases=str(tmp_path / "id_aliases.json")
    )
    (record,) = loaded.records()
    assert [score("em", record, f"<think></think> Answer: {answer}") for answer in ("B. Lee", "Ann Lee")] == [1.0, 0.0]
    assert record["subtask"] == "compositional"


# gold answers, on made-up and on real data


@pytest.mark.parametrize(("name", "subset"), [(name, subset) for name in MADE_UP for subset in EXPECTED[name]])
def test_gold_scores_one_in_the_made_up_worlds(load, name, subset):
    suite = load_suite(name)
    first = Report()
    count = Counter[str]()
    for record in load(name, subset).records():
        for context, policy in suite.contexts.items():
            count[context] += show(record, policy, suite.prompt, subset, None, first) is not None
        for metric in suite.metrics:
            value = score(metric, record, gold(record))
            if metric == "prior_answers":
                assert value in (None, 0.0)
            elif metric.startswith("form_") or metric == "fidelity_gap":
                continue
            elif metric == "temporal":  # told a week after the asked day, a session is 0.25 consistent and its event 1
                assert 0.62 <= value <= 1.0
            elif value is not None:
                assert value == pytest.approx(1.0), (metric, record["id"])
    rows = 400 if name == "synthetic_fidelity" else 300
    assert count == dict.fromkeys(suite.contexts, rows)
    assert not first.dropped


def test_half_of_the_fidelity_rows_are_of_each_version(load):
    rows = list(load("synthetic_fidelity", "easy").records())
    assert Counter(row["version"] for row in rows) == {"factual": 200, "counterfactual": 200}
    known = [score("prior_answers", row, f"<think></think> Answer: {row['prior_answer']}") for row in rows]
    assert Counter(known) == {None: 200, 1.0: 200}


@pytest.mark.parametrize(
    ("name", "subset", "file", "rows"),
    [
        ("hotpotqa", "hotpotqa", "hotpotqa_distractor.json", 60),
        ("musique", "musique", "musique_ans.jsonl", 60),
    ],
)
def test_gold_scores_one_on_real_questions(load, slices, name, subset, file, rows):
    suite = load_suite(name)
    loaded = load(name, subset, path=str(slices / file))
    assert len(loaded.rows) == rows
    values = defaultdict(list)
    for record in loaded.records():
        for metric in ("f1", "em", "format", "grounding", "evidence_f1"):
            values[metric].append(score(metric, record, gold(record)))
        for policy in suite.contexts.values():
            assert show(record, policy, suite.prompt, subset, None, Report()) is not None
    assert all(set(values[metric]) == {1.0} for metric in ("f1", "em", "format", "evidence_f1"))
    assert sum(value == 1.0 for value in values["grounding"]) >= 58  # evidence may be nearly all of a short context


def test_gold_scores_one_on_all_locomo_questions(slices):
    values = defaultdict(list)
    for row in json.loads((slices / "locomo.json").read_text(encoding="utf-8")):
        for record in LAYOUTS["locomo"].records(row, Report(), "locomo.json"):
            light = {**record, "sessions": []}  # the score reads none, and copying them takes most of the time
            values[record["subtask"]].append((record["category"], score("locomo_f1", light, gold(light))))
    assert {subset: (len(found), set(found)) for subset, found in values.items()} == {
        "multi_hop": (172, {(1, 1.0)}),
        "temporal": (180, {(2, 1.0)}),
        "open_domain": (53, {(3, 1.0)}),
        "single_hop": (480, {(4, 1.0)}),
        "adversarial": (272, {(5, 1.0)}),
    }


# the released outputs of a 3B model


@pytest.fixture(scope="module")
def outputs(load, slices) -> list[dict[str, Any]]:
    path = str(slices / "time_dialog_outputs.jsonl")
    return list(load("time_dialog", "time_dialog", path=path, contexts=None, ranges=None).records())  # type: ignore[arg-type]


def test_gold_scores_one_in_every_task_of_time_dialog(outputs):
    for metric in ("time_dialog", "time_dialog_em"):
        assert {score(metric, record, gold(record)) for record in outputs} == {1.0}


# Rows (112 of 120: the other prompts show no session) and right answers with BM25 and with the full prompt.
RIGHT = {
    "Localization": (13, 1, 0),
    "Duration_Compare": (14, 6, 5),
    "Computation": (10, 0, 0),
    "Order_Compare": (11, 7, 5),
    "Extract": (4, 0, 0),
    "Explicit_Reasoning": (19, 2, 4),
    "Order_Reasoning": (13, 0, 2),
    "Relative_Reasoning": (7, 3, 3),
    "Counterfactual": (6, 1, 2),
    "Co_temporality": (9, 6, 2),
    "Timeline": (6, 0, 0),
}


def test_the_released_outputs_score_per_task(outputs):
    found = {task: [0, 0, 0] for task in RIGHT}
    for record in outputs:
        counts = found[record["subtask"]]
        counts[0] += 1
        for place, column in enumerate(("bm25_output", "full_prompt_output"), 1):
            graded, right = (score(metric, record, record[column]) for metric in ("time_dialog", "time_dialog_em"))
            counts[place] += right
            assert right <= graded <= 1.0
            assert right == 1.0 or record["kind"] != "time" or graded == 0.0
    assert {task: tuple(counts) for task, counts in found.items()} == RIGHT


def test_choices_of_the_released_outputs_are_right_where_their_letters_are_the_golds(outputs):
    for record in outputs:
        if record["kind"] == "choice":
            for output in (record["bm25_output"], record["full_prompt_output"]):
                given = re.findall(r'"answer":\s*"([^"]*)"', output)
                letters = set(re.findall(r"\b[A-Z]\b", given[-1])) if given else set()
                right = letters == set(record["golds"][0].split())
                assert score("time_dialog_em", record, output) == right, output


def test_tasks_and_levels_are_those_of_the_file(outputs, slices):
    lines = (slices / "time_dialog_outputs.jsonl").read_text(encoding="utf-8").splitlines()
    told = {row["question_id"]: (row["task"], row["level"]) for row in map(json.loads, lines)}
    assert all(told[record["id"]] == (record["subtask"], record["level"]) for record in outputs)
    groups = load_suite("time_dialog").table.groups
    category = {task: number for number, tasks in enumerate(groups.values(), 1) for task in tasks}
    assert all(level == f"Level {category[task]}" for task, level in told.values())
