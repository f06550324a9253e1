"""What `rlkit score` costs: rows a second against merely reading the JSON, and a process pool against one process.

python benchmarks/score.py [--rows 20000]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rewards import presets
from rlkit.score import score_file
from rlkit.streams import cores


def write_rows(path: Path, rows: int, passages: int = 10, words: int = 80) -> None:
    """HotpotQA-sized rows: ten passages of eighty made-up words, two quotes a completion, one of them a word off."""
    draw = random.Random(7)
    vocabulary = [
        f"{a}{b}" for a in ("ka", "ro", "mi", "lo", "ten", "vas") for b in ("dor", "lin", "mek", "pra", "sun", "wir")
    ]
    with path.open("w", encoding="utf-8") as file:
        for i in range(rows):
            context = [{"title": f"P{p}", "text": " ".join(draw.choices(vocabulary, k=words))} for p in range(passages)]
            first, second = (" ".join(draw.choice(context)["text"].split()[10:30]) for _ in range(2))
            answer = draw.choice(vocabulary)
            altered = second.replace(second.split()[9], "altered", 1)
            completion = (
                f"<think><retrieval>{first}</retrieval> so <retrieval>{altered}</retrieval></think> Answer: {answer}"
            )
            row = {
                "id": f"r{i}",
                "question": "Which one?",
                "context": context,
                "golds": [answer],
                "completion": completion,
            }
            file.write(json.dumps(row) + "\n")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "rows.jsonl", Path(folder) / "scored.jsonl"
        write_rows(path, rows)

        def read() -> None:
            with path.open("rb") as file:
                for line in file:
                    json.loads(line)

        reward = presets.care()
        parsed = seconds(read)
        one = seconds(lambda: score_file(path, reward, out, workers=1))
        pool = seconds(lambda: score_file(path, reward, out, workers=cores()))
        size = path.stat().st_size / 1e6
    print(f"{rows:,} rows, {size:.0f} MB, {cores()} cores")
    print(f"json.loads alone   {rows / parsed:>9,.0f} rows/s")
    print(f"one process        {rows / one:>9,.0f} rows/s, {one / parsed:.1f} times the time of json.loads alone")
    print(f"process pool       {rows / pool:>9,.0f} rows/s, {one / pool:.2f} times as fast as one process")


if __name__ == "__main__":
    main()
