"""One composed reward in verl, OpenRLHF and verifiers: the same totals as offline, whole records, and no silent 0."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pickle
import subprocess
import sys
import types

import pytest
from hypothesis import given, settings

from rewards import RewardError, RowError, Sample, care_format, presets, token_f1, weighted
from rewards.adapters import (
    for_openrlhf,
    for_verifiers,
    for_verl,
    rubric_for_verifiers,
    to_openrlhf_row,
    to_verifiers_row,
    to_verl_row,
)
from rewards.adapters.openrlhf import completion_of
from rewards.gold import gold_completion
from rewards.testing import example_samples
from rewards.testing import samples as drawn_samples

PROMPT = [{"role": "user", "content": "Answer the question."}]
RECORD = {
    "id": "q1",
    "task": "care",
    "question": "Who wrote Emma?",
    "context": [{"title": "Emma", "text": "Emma is an 1815 novel by Jane Austen."}],
    "golds": ["Jane Austen"],
    "evidence": ["Emma is an 1815 novel by Jane Austen."],
    "source": "hotpotqa",
    "level": "hard",
    "asked_at": None,
    "completion": "old",
}
MEMORY = {
    "id": "m1",
    "task": "memory_t1",
    "kind": "choice",
    "question": "What did Ann do in March? A. adopt a dog B. move to Porto",
    "golds": ["B"],
    "evidence": ["session_2"],
    "time_range": ["2024-03-01", None],
    "sessions": [{"id": "session_2", "date": "2024-03-05", "utterances": [
        {"speaker": "Ann", "text": "I moved.", "time": "2024-03-05",
         "events": [{"summary": "moved", "start": "2024-03-04", "end": None}]}]}],
}  # fmt: skip
GOOD = "<think><retrieval>Emma is an 1815 novel by Jane Austen.</retrieval></think> Answer: Jane Austen"


def never(sample):
    return None


def crashes(sample):
    raise KeyError("always")


UNSCORABLE = weighted(first=(1.0, never), second=(0.5, never))


@pytest.fixture(params=["care", "memory_t1"])
def case(request):
    """A reward, a record, its gold completion and what that earns offline."""
    record = RECORD if request.param == "care" else MEMORY
    reward = presets.PRESETS[request.param]()
    sample = Sample.from_record(record, completion="")
    sample = sample.with_completion(gold_completion(sample))
    return reward, record, sample.completion, reward(sample)


def check_logged(logs, score, reward):
    for name, value in score.parts.items():
        assert logs[f"{name}/applies"] == float(value is not None)
        assert logs[f"{name}/earned"] == pytest.approx(0.0 if value is None else reward.weights[name] * value)
    assert logs["maximum"] == pytest.approx(score.maximum)
    assert sum(value for name, value in logs.items() if name.endswith("/earned")) == pytest.approx(score.total)


# verl: the call of verl/experimental/reward_loop/reward_manager/naive.py and of verl/workers/reward_manager/batch.py


def test_verl_earns_the_offline_total(case):
    reward, record, completion, score = case
    row = to_verl_row(record, PROMPT)
    assert set(row) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    extra = {**json.loads(json.dumps(row["extra_info"])), "num_turns": None, "rollout_reward_scores": {}}
    before = dict(extra)
    result = for_verl(reward)(
        data_source=row["data_source"],
        solution_str=completion + "<|im_end|>",
        ground_truth=row["reward_model"]["ground_truth"],
        extra_info=extra,
        reward_router_address="127.0.0.1:1",
        reward_model_tokenizer=None,
    )
    assert result.pop("score") == pytest.approx(score.total)
    check_logged(result, score, reward)
    assert extra == before
    assert all(type(value) is float for value in result.values())


def test_verl_batched_is_the_same_in_order(case):
    reward, record, completion, score = case
    row = to_verl_row(record, PROMPT)
    truth = row["reward_model"]["ground_truth"]
    results = for_verl(reward, batch=True)(
        data_sources=[row["data_source"]] * 3,
        solution_strs=["", completion, "none"],
        ground_truths=[truth] * 3,
        extra_infos=[row["extra_info"]] * 3,
    )
    single = for_verl(reward)
    assert results[1]["score"] == pytest.approx(score.total)
    assert results == [single("x", text, truth, row["extra_info"]) for text in ("", completion, "none")]


def test_verl_takes_fields_of_extra_info_and_the_ground_truth():
    compute_score = for_verl(presets.care())
    extra = {"context": RECORD["context"], "evidence": RECORD["evidence"], "index": 7}
    assert compute_score("hotpotqa", GOOD, "Jane Austen", extra)["score"] == pytest.approx(1.0)
    assert compute_score("hotpotqa", GOOD, ["Jane Austen", "Austen"], extra)["score"] == pytest.approx(1.0)
    without = compute_score("hotpotqa", GOOD, "Jane Austen", None)
    assert (without["grounding/applies"], without["maximum"]) == (0.0, pytest.approx(0.8))


def test_the_records_own_fields_win_over_verls():
    seen = []
    reward = weighted(mine=(1.0, lambda sample: seen.append(sample) or 1.0))
    for_verl(reward)("renamed", "x", "other", {"record": json.dumps(RECORD), "id": "7", "num_turns": 2})
    for_verl(reward)("renamed", "x", "other", {"id": "7"})
    assert [(s.source, s.golds, s.id) for s in seen] == [
        ("hotpotqa", ("Jane Austen",), "q1"),
        ("renamed", ("other",), "7"),
    ]
    assert seen[0].columns["num_turns"] == 2
    assert seen[0].columns["level"] == "hard"


def test_verl_takes_the_arrays_of_pandas():
    numpy = pytest.importorskip("numpy")
    context = numpy.array(RECORD["context"], dtype=object)
    extra = {"context": context, "evidence": numpy.array(RECORD["evidence"])}
    assert for_verl(presets.care())("hotpotqa", GOOD, numpy.array(["Jane Austen"]), extra)["score"] == pytest.approx(
        1.0
    )


def test_a_verl_row_survives_parquet(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [to_verl_row(RECORD, PROMPT), to_verl_row(MEMORY, PROMPT)]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    read = datasets.load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path))["train"]
    compute_score = for_verl(presets.care())
    row = read[0]
    result = compute_score(row["data_source"], GOOD, row["reward_model"]["ground_truth"], row["extra_info"])
    assert result["score"] == pytest.approx(1.0)
    assert row["prompt"] == PROMPT


def test_every_row_has_the_same_keys():
    reward = presets.memory_t1()
    compute_score = for_verl(reward)
    unreadable = compute_score("x", "no JSON", "B", {"record": json.dumps(MEMORY)})
    readable = compute_score("x", '{"selected_memory": ["session_2"], "answer": "B"}', "B", {"record": MEMORY})
    assert list(unreadable) == list(readable)
    assert unreadable["score"] == -0.5


# OpenRLHF: the calls of openrlhf/utils/agent.py, one query at a time, with the decoded prompt and response as query


def test_openrlhf_earns_the_offline_total(case):
    torch = pytest.importorskip("torch")
    reward, record, completion, score = case
    row = json.loads(json.dumps(to_openrlhf_row(record, "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")))
    query = row["input"] + completion + "<|im_end|>"
    result = for_openrlhf(reward)([query, query], [row["input"]] * 2, [row["label"]] * 2)
    assert result["rewards"].tolist() == pytest.approx([score.total] * 2)
    assert result["scores"].tolist() == pytest.approx([score.total / score.maximum] * 2)
    check_logged({name: values[0].item() for name, values in result["extra_logs"].items()}, score, reward)
    # what OpenRLHF's sample generator makes of one query
    one = for_openrlhf(reward)([query], [row["input"]], [row["label"]])
    assert torch.tensor([one["rewards"]]).shape == (1,)
    assert all(value.flatten()[0].item() is not None for value in one["extra_logs"].values())


def test_an_openrlhf_agent_step_ends_after_one_turn(case):
    pytest.importorskip("torch")
    reward, record, completion, score = case
    label = to_openrlhf_row(record, "Q")["label"]
    states = {"observation_text": "Q", "action_text": completion, "label": label, "sampling_params": "same"}
    result = asyncio.run(for_openrlhf(reward).step(states))
    assert result["rewards"].item() == pytest.approx(score.total)
    assert (result["done"], result["environment_feedback"], result["sampling_params"]) == (True, "", "same")


def test_openrlhf_gets_plain_lists_where_torch_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    result = for_openrlhf(presets.care())(["Q" + GOOD], ["Q"], [json.dumps(RECORD)])
    assert result["rewards"] == [pytest.approx(1.0)]
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    ("label", "completion", "earned"),
    [("Lisbon", "Answer: Lisbon", 1.0), (7, "Answer: 7", 1.0), ("7", "Answer: 8", 0.0), ("[1]", "Answer: 1", 1.0)],
)
def test_an_openrlhf_label_may_be_the_gold_itself(label, completion, earned):
    reward = weighted(accuracy=(1.0, token_f1()))
    query = "Q<think></think> " + completion
    assert float(for_openrlhf(reward)([query], ["Q"], [label])["rewards"][0]) == pytest.approx(earned)


@pytest.mark.parametrize(
    ("label", "says"), [('{"golds": ["Lis', "must be a record as JSON"), ("", "the label is empty"), (None, "is empty")]
)
def test_a_broken_openrlhf_label_is_no_gold(label, says, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(RewardError, match=says):
        for_openrlhf(presets.care())(["Q" + GOOD], ["Q"], [label])
    # OpenRLHF itself notes such errors at level INFO only
    assert says in caplog.text


def test_a_negative_reward_is_a_share_of_zero():
    result = for_openrlhf(presets.memory_t1())(["Qno JSON"], ["Q"], [json.dumps(MEMORY)])
    assert (float(result["rewards"][0]), float(result["scores"][0])) == (-0.5, 0.0)


def test_a_prompt_cut_at_its_front_still_ends_where_the_response_starts():
    prompt = "".join(f"passage {i} " for i in range(40)) + "Question: who?"
    assert completion_of(prompt[100:] + " Jane", prompt) == " Jane"
    assert completion_of(prompt + " Jane", prompt) == " Jane"
    with pytest.raises(RowError, match="does not hold the end of its prompt"):
        completion_of("Another prompt. Jane", prompt)
    with pytest.raises(RowError, match="does not hold"):
        completion_of("who? Jane", "Question: who?")


# verifiers: stands-in here; tests/slow/test_verifiers.py runs the real packages


def trace(content, reasoning=None, last_reply=None):
    message = types.SimpleNamespace(content=content, reasoning_content=reasoning)
    reply = content.strip() if last_reply is None else last_reply
    return types.SimpleNamespace(last_reply=reply, assistant_messages=[message])


def test_a_verifiers_task_reward_gives_what_each_part_adds(case):
    reward, record, completion, score = case
    task = types.SimpleNamespace(record=record)
    earned = asyncio.run(for_verifiers(reward)(task, trace(completion)))
    assert sum(earned.values()) == pytest.approx(score.total)
    assert set(earned) == {name for name, value in score.parts.items() if value is not None}
    assert list(inspect.signature(for_verifiers(reward)).parameters) == ["task", "trace"]


def test_reasoning_that_was_split_off_is_scored_with_its_answer():
    reasoning, answer = GOOD.removeprefix("<think>").split("</think>")
    task = types.SimpleNamespace(record=json.dumps(RECORD))
    earned = asyncio.run(for_verifiers(presets.care())(task, trace(answer, reasoning)))
    assert sum(earned.values()) == pytest.approx(1.0)
    another = trace("a tool call", reasoning, last_reply="<think></think> Answer: Jane Austen")
    assert asyncio.run(for_verifiers(presets.care())(task, another))["accuracy"] == pytest.approx(0.7)


def test_a_task_without_a_record_says_what_to_declare():
    with pytest.raises(RewardError, match="no field 'record'; declare"):
        asyncio.run(for_verifiers(presets.care())(types.SimpleNamespace(prompt="Q"), trace(GOOD)))


def test_verifiers_without_a_rubric_names_the_other_form(monkeypatch):
    monkeypatch.setitem(sys.modules, "verifiers", types.SimpleNamespace(__version__="0.4.0"))
    with pytest.raises(RewardError, match=r"verifiers 0\.4\.0 has no Rubric"):
        rubric_for_verifiers(presets.care())
    monkeypatch.setitem(sys.modules, "verifiers", None)
    with pytest.raises(RewardError, match="cannot be imported"):
        rubric_for_verifiers(presets.care())


def test_a_verifiers_row_holds_the_whole_record():
    row = to_verifiers_row(RECORD, PROMPT)
    assert (row["prompt"], row["answer"]) == (PROMPT, "Jane Austen")
    kept = {name: value for name, value in RECORD.items() if value is not None and name != "completion"}
    assert json.loads(row["info"]["record"]) == kept


# What holds for all of them


def calls(reward, **options):
    record = json.dumps(RECORD)
    return {
        "verl": lambda: for_verl(reward, **options)("x", GOOD, "Jane Austen", {"record": record})["score"],
        "verl batch": lambda: for_verl(reward, batch=True, **options)(["x"], [GOOD], ["?"], [{"record": record}])[0][
            "score"
        ],
        "openrlhf": lambda: float(for_openrlhf(reward, **options)(["Q" + GOOD], ["Q"], [record])["rewards"][0]),
        "verifiers": lambda: sum(
            asyncio.run(for_verifiers(reward, **options)(types.SimpleNamespace(record=record), trace(GOOD))).values()
        ),
    }


@pytest.mark.parametrize("framework", calls(UNSCORABLE))
def test_a_row_that_nothing_judges_is_an_error_and_never_a_silent_zero(framework):
    with pytest.raises(RewardError, match=r"no part of the reward gave a value for row q1.*unscored=0\.0"):
        calls(UNSCORABLE)[framework]()
    assert calls(UNSCORABLE, unscored=-0.25)[framework]() == -0.25
    failing = weighted(bad=(1.0, crashes), on_error="abstain")
    with pytest.raises(RewardError, match="KeyError: 'always'"):
        calls(failing)[framework]()


@pytest.mark.parametrize("framework", calls(UNSCORABLE))
def test_a_failing_reward_raises_with_part_and_row(framework):
    with pytest.raises(RewardError, match=r"reward 'bad' \(crashes\) failed on row q1: KeyError"):
        calls(weighted(good=(1.0, token_f1()), bad=(1.0, crashes)))[framework]()
    with pytest.raises(RewardError, match="needs a composed reward"):
        calls(token_f1())[framework]()


@settings(deadline=None, max_examples=40)
@given(drawn_samples("care"))
def test_totals_are_the_offline_totals_for_any_row(sample):
    reward = weighted(accuracy=(0.7, token_f1()), format=(0.3, care_format()))
    record = {"id": sample.id, "golds": list(sample.golds), "context": [p.text for p in sample.context]}
    expected = reward(sample).total
    text = json.dumps(record)
    assert for_verl(reward)("x", sample.completion, None, {"record": text})["score"] == expected
    label = for_openrlhf(reward)(["Q" + sample.completion], ["Q"], [text])["rewards"][0]
    assert float(label) == pytest.approx(expected, abs=1e-6)  # OpenRLHF's tensors are float32


def test_the_functions_pickle():
    for function in (for_verl(presets.care()), for_verl(presets.care(), batch=True), for_openrlhf(presets.memory_t1())):
        assert pickle.loads(pickle.dumps(function)) == function


def test_adapters_import_no_framework():
    code = "import sys, rewards.adapters; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "trl", "verl", "verifiers", "openrlhf", "asyncio", "numpy", "rlkit"} & set(loaded)


def test_example_rows_go_through_every_row_form():
    for sample in [*example_samples("care"), *example_samples("memory_t1")]:
        record = {"id": sample.id, "golds": list(sample.golds), "task": sample.task}
        assert json.loads(to_verl_row(record, PROMPT)["extra_info"]["record"]) == record
        assert json.loads(to_openrlhf_row(record, PROMPT)["label"]) == record
