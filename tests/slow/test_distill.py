"""`rlkit distill` as real processes: killed at random moments, and against a real OpenAI-compatible server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from scripted_endpoint import Body, Say, facts_of, question_of, scripted

from rlkit.distill.pipeline import distill
from rlkit.distill.settings import parse_settings

pytest.importorskip("openai", reason="the extra `llm` is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
CONCURRENCY = 4
RECORDS = 500
NO_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")


def record(number: int) -> dict[str, object]:
    facts = [f"The lighthouse of Fenwick{number} stands near Kelmore.", f"It was built in the year {1500 + number}."]
    return {
        "id": f"q{number}",
        "question": f"When was the lighthouse of Fenwick{number} built?",
        "context": [{"title": "Fenwick", "text": f"{facts[0]} {facts[1]} Ships pass by."}],
        "golds": [str(1500 + number)],
        "evidence": facts,
    }


GOLDS = {row["question"]: row["golds"][0] for row in map(record, range(RECORDS))}


def script(asked: Body) -> Say:
    """Mostly right, each text unlike any other, the same to the same question whenever it comes."""
    question = question_of(asked)
    chance = hashlib.sha256((asked["model"] + question).encode()).digest()
    delay = chance[0] / 255 * 0.04
    if asked["model"] == "reasoner":
        answer = "nobody knows" if chance[1] < 40 else GOLDS[question]
        return Say(f"To {question} I look it up.\nAnswer: {answer}", delay_seconds=delay)
    facts = facts_of(asked)[: 1 if chance[1] < 40 else None]
    return Say(f"To {question} I read: {' And: '.join(facts)} So that is it.", delay_seconds=delay)


def write_config(folder: Path, url: str, name: str) -> Path:
    rows = folder / "records.jsonl"
    rows.write_text("".join(json.dumps(record(number)) + "\n" for number in range(RECORDS)), encoding="utf-8")
    stage = {"base_url": url, "concurrency": CONCURRENCY, "max_retries": 1, "price": {"prompt": 1, "completion": 2}}
    values = {
        "sources": {"mine": {"format": "records", "path": str(rows)}},
        "reasoner": {**stage, "model": "reasoner"},
        "injector": {**stage, "model": "injector"},
        "output_dir": str(folder / name),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rlkit", "distill", str(config)]
    environment = {**os.environ, **NO_PROXY, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(config: Path) -> None:
    process = start(config)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()


def texts(journal: Path) -> set[str]:
    """The answers in a journal, but for a last line that a kill cut off."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return {json.loads(line)["value"]["text"] for line in lines}


def results(folder: Path) -> dict[str, bytes]:
    names = ("rows.jsonl", "rejected.jsonl", "report.json", "report.md", "preview.md")
    return {name: (folder / name).read_bytes() for name in names}


def test_killed_at_any_moment_no_answer_is_lost_and_none_asked_twice(tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"KILL_SEED={seed}")
    draw = random.Random(seed)
    kills: list[tuple[float, float, set[str]]] = []  # started when, killed when, which answers were kept then
    with scripted(script) as server:
        finish(write_config(tmp_path, server.url, "whole"))
        needed = len(server.calls)
        server.calls.clear()
        config = write_config(tmp_path, server.url, "killed")
        journal = tmp_path / "killed/journal.jsonl"
        while len(kills) < KILLS:
            started_at = time.monotonic()
            process = start(config)
            enough = len(server.calls) + draw.randrange(1, 3 * needed // (2 * KILLS))
            while len(server.calls) < enough and process.poll() is None:
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            process.kill()
            killed_at = time.monotonic()
            process.communicate()
            assert process.returncode == -9, "it ended before it was killed"
            kills.append((started_at, killed_at, texts(journal)))
            time.sleep(0.1)  # what was on its way is answered before the next start
        asked_before_end = len(server.calls)
        finish(config)
        calls = list(server.calls)
        for _ in range(3):  # now nothing is asked any more: kill it while it reads, judges and writes
            process = start(config)
            time.sleep(draw.uniform(1.0, 5.0))
            process.kill()
            process.communicate()
            assert results(tmp_path / "killed") == results(tmp_path / "whole")
        assert len(server.calls) == len(calls)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    for started_at, killed_at, kept in kills:
        repeated = [call for call in calls if call.asked_at > killed_at and call.said.text in kept]
        assert not repeated, "an answer that was kept is asked for again"
        answered = {call.said.text for call in calls if started_at < call.asked_at and call.answered_at < killed_at}
        assert len(answered - kept) <= 2 * CONCURRENCY, "more was lost than the workers can have had in their hands"
        long_ago = {call.said.text for call in calls if started_at < call.asked_at and call.answered_at < killed_at - 1}
        assert long_ago <= kept, "an answer that came a second before the kill was lost"
    assert len({call.said.text for call in calls}) == needed
    twice = len(calls) - needed
    print(
        f"{needed} calls needed, {asked_before_end} made by {KILLS} killed starts, {twice} were on their way at a kill"
    )
    assert twice <= KILLS * 2 * CONCURRENCY


INSTRUCTIONS = {"reasoner": "Think.", "injector": "Quote."}
SHAPE = {
    "model_type": "qwen2",
    "vocab_size": 500,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def memoriser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt by heart what both stages should say to two records."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlkit.distill.prompts import ask_injector, ask_reasoner
    from rlkit.scratch import scratch_model

    pairs = []
    for number in range(2):
        row = record(number)
        facts, reasoning = row["evidence"], f"Fenwick{number} is meant."
        pairs.append((ask_reasoner(row, INSTRUCTIONS["reasoner"]), f"{reasoning}\nAnswer: {row['golds'][0]}"))
        asked = ask_injector(row, reasoning, facts, INSTRUCTIONS["injector"])
        pairs.append((asked, f"{facts[0]} {facts[1]} So it is that."))
    folder = tmp_path_factory.mktemp("memoriser")
    texts = [text for asked, said in pairs for text in (*(message["content"] for message in asked), said)]
    scratch_model(folder / "untrained", SHAPE, texts, seed=7)
    tokenizer = AutoTokenizer.from_pretrained(folder / "untrained")
    model = AutoModelForCausalLM.from_pretrained(folder / "untrained", dtype=torch.float32)
    batch = []
    for asked, said in pairs:
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
        answer = tokenizer(said, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        batch.append((torch.tensor([prompt + answer]), torch.tensor([[-100] * len(prompt) + answer])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        loss = sum(model(input_ids=tokens, labels=labels).loss for tokens, labels in batch) / len(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.005:
            break
    assert loss < 0.02, "the fixture has not learnt its answers"
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def write_records(folder: Path, count: int = 2) -> dict[str, object]:
    path = folder / "two.jsonl"
    path.write_text("".join(json.dumps(record(number)) + "\n" for number in range(count)), encoding="utf-8")
    return {"mine": {"format": "records", "path": str(path)}}


@pytest.fixture
def transformers_serve(memoriser: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of `transformers serve` with that model, on loopback."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="the extra `serving` of transformers is not installed")
    for name in NO_PROXY:
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(memoriser)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, **NO_PROXY, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert process.poll() is None, "transformers serve ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_rows_from_a_real_server(tmp_path: Path, memoriser: Path, transformers_serve: str) -> None:
    stage = {"base_url": transformers_serve, "model": str(memoriser), "concurrency": 2, "max_retries": 1}
    settings = parse_settings(
        {
            "sources": write_records(tmp_path, 3),  # the third is one that the model has not learnt
            "reasoner": {**stage, "instructions": INSTRUCTIONS["reasoner"], "sampling": {"max_tokens": 40}},
            "injector": {**stage, "instructions": INSTRUCTIONS["injector"], "sampling": {"max_tokens": 60}},
            "output_dir": str(tmp_path / "out"),
        }
    )
    found = distill(settings)
    assert found.kept == 2
    assert sum(found.rejected_rows.values()) == 1
    assert found.spent["reasoner"].answers == 3
    assert 60 < found.spent["reasoner"].prompt_tokens < 1000
    assert 10 < found.spent["injector"].completion_tokens < 200
    assert distill(settings).new == {"reasoner": 0, "injector": 0}
    cut = {**stage, "instructions": INSTRUCTIONS["reasoner"], "sampling": {"max_tokens": 3}}
    settings = parse_settings({**settings.to_dict(), "reasoner": cut})
    assert set(distill(settings).rejected_rows) == {("reasoner", "the reply was cut off")}


def test_rows_from_a_model_on_this_machine(tmp_path: Path, memoriser: Path) -> None:
    stage = {"model_name_or_path": str(memoriser), "device": "cpu", "batch_size": 2}
    settings = parse_settings(
        {
            "sources": write_records(tmp_path),
            "reasoner": {**stage, "instructions": INSTRUCTIONS["reasoner"], "sampling": {"max_new_tokens": 40}},
            "injector": {**stage, "instructions": INSTRUCTIONS["injector"], "sampling": {"max_new_tokens": 60}},
            "output_dir": str(tmp_path / "out"),
        }
    )
    found = distill(settings)
    assert (found.kept, found.new) == (2, {"reasoner": 2, "injector": 2})
    assert distill(settings).new == {"reasoner": 0, "injector": 0}


def test_sft_trains_on_the_rows_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_PROXY:
        monkeypatch.delenv(name, raising=False)
    with scripted(script) as server:
        stage = {"base_url": server.url, "concurrency": 4}
        models = {"reasoner": {**stage, "model": "reasoner"}, "injector": {**stage, "model": "injector"}}
        out = {"output_dir": str(tmp_path / "out")}
        kept = distill(parse_settings({"sources": write_records(tmp_path, 24), **models, **out})).kept
    values = {
        "method": "sft",
        "scratch": SHAPE,
        "sources": {"distilled": {"format": "records", "path": str(tmp_path / "out/rows.jsonl")}},
        "train": {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "save_strategy": "no",
        },
    }
    config = tmp_path / "sft.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    for verb in (["check", str(config)], ["train", str(config)]):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-m", "rlkit", *verb], cwd=ROOT, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "run/model/config.json").is_file()
    counted = json.loads((tmp_path / "run/data.json").read_text(encoding="utf-8"))
    assert json.dumps(counted).count(f'"kept": {kept}') >= 1
