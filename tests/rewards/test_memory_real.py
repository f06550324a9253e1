"""Real Time-Dialog questions and raw model outputs: every gold is gradable, every output is read or says why not."""

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from rewards.answers import temporal_answer
from rewards.dates import read_date
from rewards.sample import Sample

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
OUTPUTS, RANGES = DATA / "time_dialog_outputs.jsonl", DATA / "time_dialog_question_ranges.json"
KINDS = {
    "Localization": "time",
    "Computation": "duration",
    "Timeline": "order",
    "Duration_Compare": "choice",
    "Order_Compare": "choice",
    "Extract": "choice",
    "Explicit_Reasoning": "choice",
    "Order_Reasoning": "choice",
    "Relative_Reasoning": "choice",
    "Counterfactual": "choice",
    "Co_temporality": "choice",
}


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    if not OUTPUTS.exists():
        pytest.skip(f"real data is not here: {OUTPUTS}")
    return [json.loads(line) for line in OUTPUTS.read_text(encoding="utf-8").splitlines()]


def row(question: dict[str, Any], completion: str) -> Sample:
    kind = KINDS[question["task"]]
    return Sample(id=question["question_id"], kind=kind, golds=question["gold_answer"], completion=completion)


def test_every_gold_scores_one_as_its_own_prediction(questions: list[dict[str, Any]]) -> None:
    golds = [json.dumps({"selected_memory": [], "answer": question["gold_answer"]}) for question in questions]
    values = [temporal_answer()(row(q, gold)) for q, gold in zip(questions, golds, strict=True)]
    assert values == [1.0] * 120


def test_another_gold_of_the_same_kind_is_wrong(questions: list[dict[str, Any]]) -> None:
    mistaken = set()
    for kind in ("time", "duration", "order"):
        golds = [q["gold_answer"] for q in questions if KINDS[q["task"]] == kind]
        for gold, other in permutations(golds, 2):
            completion = json.dumps({"selected_memory": [], "answer": other})
            if temporal_answer()(Sample(kind=kind, golds=gold, completion=completion)) == 1:
                mistaken.add((gold, other))
    # Right by the rule: the other gold says the same day or month, only more of it.
    assert mistaken == {
        ("May, 2023", "May 15, 2023"),
        ("May, 2023", "May 12, 2023"),
        ("January 12, 2024", "12:24:33 am, January 12, 2024"),
        ("May, 2023", "2:03 pm, May 11, 2023"),
    }


def test_every_raw_output_is_read_or_rejected_for_a_reason(questions: list[dict[str, Any]]) -> None:
    outputs = [row(q, q[name]).memory for q in questions for name in ("full_prompt_output", "bm25_output")]
    assert Counter(output.problem for output in outputs) == {
        None: 229,
        "there is no JSON object": 7,
        "the JSON object is broken or cut off": 3,
        "there are 2 JSON objects that say different things": 1,
    }


def test_right_raw_outputs_are_found_right(questions: list[dict[str, Any]]) -> None:
    right: Counter[str] = Counter()
    for question in questions:
        for name in ("full_prompt_output", "bm25_output"):
            right[KINDS[question["task"]]] += temporal_answer()(row(question, question[name])) == 1
    assert right == {"choice": 53, "time": 1, "duration": 0, "order": 0}


def test_every_annotated_bound_can_be_read() -> None:
    if not RANGES.exists():
        pytest.skip(f"real data is not here: {RANGES}")
    ranges = [entry["question_time_range"] for entry in json.loads(RANGES.read_text(encoding="utf-8")).values()]
    bounds = [bound for time_range in ranges for bound in (time_range["start"], time_range["end"])]
    assert Counter(read_date(bound) is None for bound in bounds) == {False: len(bounds) - 1480, True: 1480}
    assert {bound for bound in bounds if read_date(bound) is None} == {"unknown"}
