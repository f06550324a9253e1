"""What an evaluation costs: batched answers against one `generate` a question, and scoring what exists already.

python benchmarks/evaluation.py [--questions 96] [--predictions 100000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlkit.cli import main as rlkit
from rlkit.data.load import load_source
from rlkit.data.synthetic import generate
from rlkit.generation.local import Local
from rlkit.prompts import chat_prompt
from rlkit.scratch import scratch_model

TINY = {
    "model_type": "qwen2",
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
NEW_TOKENS = 32
SECONDS_ALLOWED = 60


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def answers(folder: Path, questions: int) -> float:
    """The same questions by transformers' `generate` one at a time, and in batches of 16 by the evaluation's own model.

    Returns how many times as many answers a second the batches give.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    records = list(generate(rows=questions, seed=7))
    place = scratch_model(folder / "model", TINY, [m["content"] for r in records for m in chat_prompt(r)], seed=0)
    conversations = [chat_prompt(record) for record in records]
    model: Any = AutoModelForCausalLM.from_pretrained(place).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(place)

    def one(conversation: list[dict[str, str]]) -> list[int]:
        ids = tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(**ids, max_new_tokens=NEW_TOKENS, do_sample=False)
        return output[0, ids["input_ids"].shape[1] :].tolist()

    batched = Local(str(place), sampling={"max_new_tokens": NEW_TOKENS}, batch_size=16)
    one(conversations[0])  # what is done once, such as loading, is in neither figure
    list(batched.complete(conversations[:1]))
    alone = seconds(lambda: [one(conversation) for conversation in conversations])
    together = seconds(lambda: list(batched.complete(conversations)))
    print(f"one at a time: {questions / alone:8.1f} answers/s")
    print(
        f"batches of 16: {questions / together:8.1f} answers/s, {alone / together:.1f} times as many (at least 4 are asked for)"
    )
    return alone / together


def predictions(folder: Path, count: int) -> dict[int, float]:
    """`rlkit evaluate --predictions` from the file to the table, conversion of the data not counted.

    Returns the seconds by number of processes.
    """
    rows = list(generate(rows=2_000, seed=7))
    data, answered, suite = folder / "rows.jsonl", folder / "predictions.jsonl", folder / "bench.yaml"
    with data.open("w", encoding="utf-8") as records, answered.open("w", encoding="utf-8") as replies:
        for number in range(count):
            row = rows[number % len(rows)]
            records.write(json.dumps({**row, "id": f"r{number}"}) + "\n")
            quotes = " ".join(f"<retrieval>{fact}</retrieval>" for fact in row["evidence"][:1])
            said = f"<think>{quotes}</think> Answer: {row['golds'][0] if number % 2 else 'Nobody'}"
            replies.write(json.dumps({"id": f"r{number}", "completion": said}) + "\n")
    source = {"format": "records", "path": str(data)}
    metrics = ["f1", "em", "format", "grounding", "evidence_precision", "evidence_recall", "evidence_f1"]
    suite.write_text(yaml.safe_dump({"title": "benchmark", "data": {"bench": source}, "metrics": metrics}))

    def score(*more: str) -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            code = rlkit(["evaluate", "--predictions", str(answered), "--suite", str(suite), *more])
        if code:
            raise SystemExit("the evaluation failed; its error stands above")

    load_source(source)  # converts the data, which is kept
    score("--limit", "10")  # and what else is done once
    taken = {}
    for workers in (2, 1):
        before = sum(os.times()[:4])
        spent = seconds(lambda workers=workers: score("--workers", str(workers)))  # type: ignore[misc]
        taken[workers] = spent
        print(
            f"{count:,} predictions, {workers} processes: {spent:.1f} s, of CPUs {sum(os.times()[:4]) - before:.1f} s "
            f"(less than {SECONDS_ALLOWED} are asked for)",
            flush=True,
        )
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--predictions", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.questions:
            answers(Path(folder), args.questions)
        if args.predictions:
            predictions(Path(folder), args.predictions)


if __name__ == "__main__":
    main()
