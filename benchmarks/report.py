"""A report of many completions: how long it takes to write, how large it is, and how fast it is in a browser.

    python benchmarks/report.py                      50,000 completions of 2,000 questions over 1,000 words each
    python benchmarks/report.py --completions 5000

Needs Chromium and playwright for the second half; says so where they are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import yaml

from rewards import Sample, presets
from rlkit.report import write_report

GENERATIONS = 8
PASSAGES, WORDS = 10, 100


def make_run(folder: Path, completions: int, rows: int) -> None:
    """A run folder with samples as `rlkit train` logs them; each row comes again and again, as in several epochs."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(8_000)]
    reward = presets.care()
    folder.mkdir(parents=True)
    config = {"method": "grpo", "model": {"model_name_or_path": "m"}, "rewards": "care",
              "sources": {name: {"format": "records", "path": "x"} for name in ("easy", "hard")},
              "curriculum": {"kind": "linear", "start": {"easy": 1.0, "hard": 0.0}, "end": {"easy": 0.5, "hard": 0.5}},
              "train": {"max_steps": max(1, completions // 64), "num_generations": GENERATIONS, "per_device_train_batch_size": 64}}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    made = [_row(rng, vocabulary, number) for number in range(rows)]
    with (folder / "samples.jsonl").open("w") as samples, (folder / "metrics.jsonl").open("w") as metrics:
        for group in range(-(-completions // GENERATIONS)):
            step, row = group // 8 + 1, made[group % rows]
            for _ in range(min(GENERATIONS, completions - group * GENERATIONS)):
                sample = Sample.from_record(row, completion=_completion(rng, row, vocabulary))
                score = reward(sample)
                earned = {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}
                samples.write(
                    json.dumps({**row, "step": step, "completion": sample.completion, "score": earned}) + "\n"
                )
            if group % 8 == 0:
                metrics.write(json.dumps({"step": step, "reward": rng.random(), "step_time": 1.0}) + "\n")


def _row(rng: random.Random, vocabulary: list[str], number: int) -> dict:
    passages = [" ".join(rng.choices(vocabulary, k=WORDS)) + "." for _ in range(PASSAGES)]
    evidence = [" ".join(passage.split()[10:30]) for passage in rng.sample(passages, 2)]
    return {"id": f"q{number}", "task": "care", "source": rng.choice(["easy", "hard"]), "question": " ".join(rng.choices(vocabulary, k=12)) + "?",
            "context": [{"title": f"Title {i}", "text": text} for i, text in enumerate(passages)],
            "golds": [rng.choice(vocabulary)], "evidence": evidence}  # fmt: skip


def _completion(rng: random.Random, row: dict, vocabulary: list[str]) -> str:
    spans = []
    for _ in range(rng.randint(1, 3)):
        words = rng.choice(row["context"])["text"].split()
        start = rng.randrange(WORDS - 20)
        span = words[start : start + 15]
        if rng.random() < 0.3:
            span[rng.randrange(15)] = rng.choice(vocabulary)
        spans.append(f"{' '.join(rng.choices(vocabulary, k=25))} <retrieval>{' '.join(span)}</retrieval>")
    return f"<think>{' '.join(spans)}</think> Answer: {rng.choice([row['golds'][0], 'something else'])}"


def browse(report: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        begun = time.monotonic()
        page.goto(report.as_uri())
        page.wait_for_selector("html[data-ready]")
        print(f"browser: ready after {time.monotonic() - begun:.2f} s, of which opening {page.evaluate('+document.documentElement.dataset.ready')} ms")  # fmt: skip
        for name, fields in (("by columns", {"stepFrom": "100", "quotes": "missing"}), ("by text, first time", {"text": "something else"}), ("by text, again", {"text": "zzzz"})):  # fmt: skip
            took, found = page.evaluate(
                """async (fields) => {
                  for (const field of Browser.form.elements) if (field.name) field.value = fields[field.name] ?? "";
                  await Browser.filter();
                  return [Browser.took, Browser.found.length];
                }""",
                fields,
            )
            print(f"browser: filter {name}: {took:.0f} ms, {found:,} found")
        took = page.evaluate("(async () => { const t = performance.now(); await Browser.show(Store.index.size - 5); return performance.now() - t; })()")  # fmt: skip
        print(f"browser: a completion far away is shown after {took:.0f} ms")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--completions", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--out", type=Path, help="keep the report here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        make_run(run, args.completions, args.rows)
        size = (run / "samples.jsonl").stat().st_size
        out = args.out or Path(folder) / "report.html"
        begun, cpu = time.monotonic(), os.times()
        write_report([run], out, completions=args.completions)
        now = os.times()
        spent = sum(now[:4]) - sum(cpu[:4])
        print(f"{args.completions:,} completions, {size / 1e6:.0f} MB of samples -> {out.stat().st_size / 1e6:.1f} MB, {time.monotonic() - begun:.0f} s ({spent:.0f} s of CPU)")  # fmt: skip
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        if chromium is None:
            print("no Chromium, so nothing was measured in a browser")
            return
        browse(out, chromium)


if __name__ == "__main__":
    main()
