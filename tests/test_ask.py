"""`rlkit ask`: from a file with a memory and a model's folder to the answer, and what it says on the way."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit import ask
from rlkit.errors import ConfigError, DataError, RlkitError
from rlkit.memory.candidates import Candidates

SESSIONS = [
    {
        "id": "session_1",
        "date": "2024-03-05T09:00:00",
        "utterances": [{"speaker": "Ann", "text": "I got a dog last week!"}],
    },
    {"id": "session_2", "date": "2024-04-07", "utterances": [{"speaker": "Ann", "text": "It rains."}]},
    {"id": "session_3", "date": "2024-07-01", "utterances": [{"speaker": "Bob", "text": "My dog is ill."}]},
]
LOCOMO = {
    "sample_id": "conv-1",
    "conversation": {
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Look, a dog!"}],
    },
    "qa": [],
}
QUESTION = "When did Ann get a dog?"
GOOD = '{"selected_memory": ["session_1", "session_9"], "answer": "February 27, 2024"}'


def write(path: Path, value: Any) -> Path:
    lines = [json.dumps(row) for row in value] if path.suffix == ".jsonl" else [json.dumps(value)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rlkit.scratch import scratch_model

    shape = {"model_type": "qwen2", "vocab_size": 400, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048}  # fmt: skip
    return scratch_model(tmp_path_factory.mktemp("run") / "model", shape, ["Ann got a dog. It rains."], seed=0)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    ask.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("form", ["record", "sessions", "sessions.jsonl", "records.jsonl", "locomo", "locomos"])
def test_a_memory_is_read_in_every_form(form: str, tmp_path: Path) -> None:
    record = {"id": "q1", "question": "Another?", "golds": ["x"], "evidence": ["session_1"], "sessions": SESSIONS}
    value = {"record": record, "sessions": SESSIONS, "sessions.jsonl": SESSIONS, "locomo": LOCOMO, "locomos": [LOCOMO],
             "records.jsonl": [record, {**record, "id": "q2"}]}[form]  # fmt: skip
    path = write(tmp_path / (form if "." in form else f"{form}.json"), value)
    memory = ask.read_memory(path, QUESTION, "2024-08-01")
    assert (memory["task"], memory["question"], memory["asked_at"]) == ("memory_t1", QUESTION, "2024-08-01")
    assert not {"golds", "time_range"} & memory.keys()
    assert memory["evidence"] == []  # what the file labels belongs to another question
    dates = [session["date"] for session in memory["sessions"]]
    assert dates == (["2023-05-08T13:56:00"] if "locomo" in form else [session["date"] for session in SESSIONS])


def test_of_several_memories_one_must_be_named(tmp_path: Path) -> None:
    rows = [{"id": "a", "sessions": SESSIONS[:1]}, {"id": "b", "sessions": SESSIONS[1:]}]
    path = write(tmp_path / "two.jsonl", rows)
    with pytest.raises(DataError, match=r"holds 2 memories; choose one with --id: a, b"):
        ask.read_memory(path, QUESTION)
    assert len(ask.read_memory(path, QUESTION, name="b")["sessions"]) == 2
    with pytest.raises(DataError, match=r"holds no memory 'c'"):
        ask.read_memory(path, QUESTION, name="c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sessions"),
        ("[]", "holds no sessions"),
        ('{"question": "?"}', r"item 1: a session with utterances, .* is expected, not question\."),
        ('{"sessions": []}', "sessions is empty"),
        ('{"sessions": []}\n{"sessions": [', r"talk\.json:2: is neither JSON nor JSON lines"),
        ('{"sessions": [{"date": "2024"}]}', r"sessions\[0\] is .* must be an object with id"),
    ],
)
def test_a_file_that_is_no_memory_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text(text)
    with pytest.raises(DataError, match=message):
        ask.read_memory(tmp_path / "talk.json", QUESTION)
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'talk\.json'\?"):
        ask.read_memory(tmp_path / "tlak.json", QUESTION)


def test_a_run_is_asked_with_its_own_candidates_but_without_labels(tmp_path: Path, model: Path) -> None:
    run = model.parent
    saved = {"memory": {"top_k": 3, "time_range": "annotated", "keep_gold": True}}
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    assert ask.find_model(run) == (model, saved)
    assert ask.find_model(model) == (model, saved)  # the same model, named in another way
    (run / "config.yaml").rename(run / "kept.yaml")
    assert ask.find_model(model) == (model, {})
    options = ask.inference_options(saved, {"budget_tokens": 500})
    assert options == Candidates(top_k=3, budget_tokens=500, time_range="rules", keep_gold=False)
    assert ask.inference_options({}, {}) == Candidates()
    with pytest.raises(ConfigError, match=r"neither a run with a model nor a model folder; no config\.json is there"):
        ask.find_model(tmp_path)
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(ConfigError, match="its training has not ended"):
        ask.find_model(tmp_path)


def asked(completion: str, **options: Any) -> tuple[ask.Asked, list[str]]:
    memory = ask.normalise(
        {"question": "What about the dog in March 2024?", "golds": ["?"], "sessions": SESSIONS}, "here"
    )
    limits = Candidates(**{"margin_days": 40, "top_k": 1, **options})
    seen: list[Any] = []

    def answer(messages: list[dict[str, str]]) -> str:
        seen.append(messages)
        return completion

    result = ask.ask(memory, limits, lambda text: len(text.split()), answer)
    assert "session_1 (2024-03-05 09:00, Tuesday)" in seen[0][-1]["content"]
    return result, list(ask._lines(result, limits))


def test_everything_that_led_to_the_answer_is_printed() -> None:
    _, lines = asked(GOOD)
    assert (
        lines[1]
        == "time range: 2024-01-21 00:00 to 2024-05-10 23:59 (rules, widened by 40 days); 2 of 3 sessions overlap it"
    )
    assert lines[2].startswith("candidates: 1 of them, 11 of 16,000 tokens")
    assert lines[3].startswith("  BM25 rank   1  score")
    assert "session_1  2024-03-05 09:00, Tuesday" in lines[3]
    assert lines[4:] == [
        "  left out by time_range: session_3",
        "  left out by top_k: session_2",
        "selected: session_1 (2024-03-05 09:00, Tuesday), session_9 (was not shown)",
        "answer: February 27, 2024",
    ]


def test_an_output_that_cannot_be_read_is_shown_as_it_is() -> None:
    result, lines = asked("The end of February.", time_range="none")
    assert not result.output.ok
    assert lines[1] == "time range: not used"
    assert lines[-2:] == ["the output cannot be read: there is no JSON object", "The end of February."]


def test_a_budget_below_every_session_is_an_error() -> None:
    with pytest.raises(
        DataError, match=r"no session fits into memory\.budget_tokens = 2, so there is nothing to answer"
    ):
        asked(GOOD, budget_tokens=2)


def test_the_whole_way_with_a_model_that_knows_nothing(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "talk.json", SESSIONS)
    common = ["--memory", str(path), "--question", QUESTION, "--model", str(model), "--max-new-tokens", "8"]
    assert ask.main(arguments(*common, "--asked-at", "2024-08-01")) == 1  # random tokens are no JSON
    out = capsys.readouterr().out
    assert "memory: 3 sessions; asked at 2024-08-01, Thursday" in out
    assert "the output cannot be read" in out
    ask.main(arguments(*common, "--json", "--top-k", "2"))
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["candidates"]) == 2
    assert [*printed["lost"]] == ["top_k"]
    assert printed["problem"]
    with pytest.raises(RlkitError, match=r"but the model reads 2,048, .*shorten the context or lower max_new_tokens"):
        ask.main(arguments(*common[:-1], "2048"))


def test_the_model_writes_what_its_chat_template_asks_for(model: Path) -> None:
    count_tokens, answer = ask.load_model(model, 4)
    assert count_tokens("It rains.") > 0
    first = answer([{"role": "user", "content": "Ann got a dog."}])
    assert first == answer([{"role": "user", "content": "Ann got a dog."}])
