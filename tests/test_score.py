"""`rlkit score`: every line keeps its place, its bytes and its line number, in bounded memory."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewards import RewardError, Sample, for_task, presets, reward, weighted
from rewards.gold import gold_completion
from rewards.testing import example_samples
from rlkit import cli, streams
from rlkit.errors import ConfigError, DataError, RlkitError
from rlkit.score import load_reward, score_file

GOOD = "<think><retrieval>Emma is by Jane Austen.</retrieval></think> Answer: Jane Austen"
ROW = {"id": "q1", "question": "Who wrote Emma?", "context": ["Emma is by Jane Austen."], "golds": ["Jane Austen"]}


def row(**changes):
    return {**ROW, "completion": GOOD, **changes}


def write(path, lines):
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8"
    )
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@reward(needs=("level",))
def level(sample):
    return float(sample.columns["level"])


def fails_on_q2(sample):
    if sample.id == "q2":
        raise KeyError("q2")
    return 1.0


@pytest.fixture(params=[1, 2], ids=["one process", "pool"])
def workers(request, monkeypatch):
    if request.param == 2:
        monkeypatch.setattr(streams, "CHUNK_BYTES", 700)  # a few lines each, so that several chunks are under way
    return request.param


def test_each_line_comes_back_with_its_score(tmp_path, workers):
    rows = [row(id=f"q{i}", completion=GOOD if i % 3 else "nothing") for i in range(50)]
    report = score_file(write(tmp_path / "in.jsonl", rows), presets.care(), tmp_path / "out.jsonl", workers=workers)
    scored = read(tmp_path / "out.jsonl")
    assert [line["id"] for line in scored] == [line["id"] for line in rows]
    for line, original in zip(scored, rows, strict=True):
        earned = line.pop("score")
        assert line == original
        expected = presets.care()(Sample.from_record(original))
        assert earned == {"total": expected.total, "maximum": expected.maximum, "parts": expected.parts}
    assert (report.rows, report.bad, report.maximum) == (50, 0, 1.0)
    assert report.total == pytest.approx(33 / 50)
    assert report.parts["accuracy"].mean == pytest.approx(33 / 50)
    assert report.parts["accuracy"].weight == 0.7


def test_what_stands_in_a_line_stays_byte_for_byte(tmp_path):
    odd = '{"completion" : "Answer: é \\ud83d", "golds":["x"],  "question":"Q","context":["c"], "n": 1e3, "note": "a\\u00e9"}'
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + odd.encode() + b"\r\n\n   \n" + odd.encode())
    score_file(path, presets.care(), tmp_path / "out.jsonl")
    first, second = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert first == second
    assert first.startswith(odd[:-1].encode() + b', "score": {"total": ')


def test_an_old_score_is_replaced_where_it_stands(tmp_path):
    path = write(tmp_path / "in.jsonl", [{"score": {"total": 9}, **row(note="é")}])
    score_file(path, presets.care(), path)
    (line,) = read(path)
    assert next(iter(line)) == "score"
    assert line["score"]["total"] == 1.0
    assert line["note"] == "é"


def test_a_memory_file_scores_by_its_own_preset(tmp_path):
    lines = []
    for sample in example_samples("memory_t1"):
        record = {
            name: getattr(sample, name)
            for name in ("id", "task", "kind", "question", "golds", "evidence", "time_range")
        }
        sessions = json.loads(json.dumps(sample.sessions, default=vars))
        lines.append({**record, "sessions": sessions, "completion": gold_completion(sample)})
    report = score_file(write(tmp_path / "in.jsonl", lines), presets.memory_t1())
    assert report.total == pytest.approx(report.maximum)
    assert report.parts["temporal"].not_applicable == 1


MALFORMED = [
    ('{"completion": ', "not a line of JSON"),
    ("[" * 100_000, "not a line of JSON"),
    ('{"completion": "\xff', "not a line of JSON"),
    ("[1, 2]", "holds list, but each line must be an object"),
    (ROW, "'completion' is missing, .*the columns here are id, question, context, golds"),
    (row(completion=None), "'completion' is None"),
    (row(completion=["a"]), "'completion' is \\['a'\\]"),
    (row(golds=[]), "golds"),
    ({k: v for k, v in row().items() if k != "golds"}, "golds"),
    (row(context=7), "context"),
]


@pytest.mark.parametrize(("bad", "message"), MALFORMED)
def test_a_malformed_line_stops_with_file_and_line(tmp_path, bad, message, workers):
    lines = [row(id=f"q{i}") for i in range(9)]
    path = write(tmp_path / "in.jsonl", [*lines[:7], bad, *lines[7:]])
    with pytest.raises(DataError, match=rf"in\.jsonl:8: .*{message}"):
        score_file(path, presets.care(), tmp_path / "out.jsonl", workers=workers)
    assert [item.name for item in tmp_path.iterdir()] == ["in.jsonl"]


def test_malformed_lines_are_left_out_counted_and_listed_on_request(tmp_path, workers):
    bad = [line for line, _ in MALFORMED]
    lines = [item for i, line in enumerate(bad * 3) for item in (row(id=f"q{i}"), line)]
    report = score_file(
        write(tmp_path / "in.jsonl", lines), presets.care(), tmp_path / "out.jsonl", skip_bad=True, workers=workers
    )
    assert (report.rows, report.bad, len(report.bad_lines)) == (30, 30, 20)
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in report.bad_lines] == [str(2 * i) for i in range(1, 21)]
    assert [line["id"] for line in read(tmp_path / "out.jsonl")] == [f"q{i}" for i in range(30)]
    assert "30 rows scored, 30 malformed lines left out:" in str(report)
    assert "and 10 more" in str(report)


def test_a_field_that_a_part_needs_is_part_of_the_layout(tmp_path):
    path = write(tmp_path / "in.jsonl", [row(level=1), row(id="bare")])
    with pytest.raises(DataError, match=r"in\.jsonl:2: reward 'a' \(level\) needs level, but row bare has none"):
        score_file(path, weighted(a=(1.0, level)))
    report = score_file(path, weighted(a=(1.0, level)), skip_bad=True)
    assert (report.rows, report.bad, report.total) == (1, 1, 1.0)


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_reward_that_fails_stops_even_when_bad_lines_are_skipped(tmp_path, skip_bad, workers):
    path = write(tmp_path / "in.jsonl", [row(), row(id="q2")])
    with pytest.raises(DataError, match=r"in\.jsonl:2: reward 'a' \(fails_on_q2\) failed on row q2: KeyError: 'q2'"):
        score_file(path, weighted(a=(1.0, fails_on_q2)), skip_bad=skip_bad, workers=workers)


def test_an_abstaining_reward_counts_its_errors_and_shows_the_first(tmp_path):
    path = write(tmp_path / "in.jsonl", [row(), row(id="q2"), row(id="q2")])
    report = score_file(path, weighted(on_error="abstain", a=(1.0, fails_on_q2), b=(1.0, for_task("memory_t1", level))))
    assert (report.parts["a"].mean, report.parts["a"].errors, report.parts["a"].not_applicable) == (1.0, 2, 0)
    assert (report.parts["b"].mean, report.parts["b"].errors, report.parts["b"].not_applicable) == (None, 0, 3)
    assert "first error of a: reward 'a' (fails_on_q2) failed on row q2: KeyError: 'q2'" in str(report)


def test_a_part_that_cannot_be_sent_works_where_processes_are_forked_or_says_so(tmp_path, monkeypatch):
    path = write(tmp_path / "in.jsonl", [row()])
    local = weighted(a=(1.0, lambda sample: 1.0))
    assert score_file(path, local, workers=1).total == 1.0
    monkeypatch.setattr(streams.multiprocessing, "get_start_method", lambda: "spawn")
    with pytest.raises(RlkitError, match=r"cannot be sent to other processes .* use one worker"):
        score_file(path, local, workers=2)


def test_progress_counts_every_byte(tmp_path, workers):
    path = write(tmp_path / "in.jsonl", [row(id=f"q{i}") for i in range(20)])
    seen = []
    score_file(path, presets.care(), workers=workers, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("no.jsonl", {}, "no.jsonl: there is no such file"),
        (".", {}, r"\.: is a directory, but must be a file of JSON lines"),
        ("zipped.gz", {}, r"zipped\.gz: is compressed, .* unzip it first: gunzip -k zipped\.gz"),
        ("utf16.jsonl", {}, r"utf16\.jsonl:1: not UTF-8 text"),
        ("utf16.jsonl", {"workers": 2}, r"utf16\.jsonl:1: not UTF-8 text"),
        ("utf16le.jsonl", {}, r"utf16le\.jsonl:1: not UTF-8 text"),
        ("empty.jsonl", {}, "empty.jsonl: holds no line to score"),
        ("one.jsonl", {"workers": 0}, "workers is 0"),
        ("one.jsonl", {"out": "nowhere/out.jsonl"}, "out.jsonl: cannot be written"),
        ("one.jsonl", {"out": "."}, "cannot be written"),
    ],
)
def test_what_cannot_work_is_said_at_once(tmp_path, monkeypatch, path, arguments, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "empty.jsonl", ["", "  "])
    write(tmp_path / "one.jsonl", [row()])
    (tmp_path / "zipped.gz").write_bytes(gzip.compress(b"{}"))
    for code in ("utf-16", "utf-16-le"):
        (tmp_path / f"{code.replace('-', '')}.jsonl").write_bytes(f"{json.dumps(row())}\n".encode(code))
    with pytest.raises(RlkitError, match=message):
        score_file(path, presets.care(), **arguments)


def test_rewards_come_from_a_preset_or_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_reward("care") == presets.care()
    (tmp_path / "run.yaml").write_text("method: grpo\nrewards:\n  accuracy: {use: token_f1, weight: 1e-1}\n")
    assert dict(load_reward("run.yaml").weights) == {"accuracy": 0.1}
    (tmp_path / "preset.yaml").write_text("rewards: memory_t1\n")
    assert load_reward("preset.yaml") == presets.memory_t1()
    (tmp_path / "none.yaml").write_text("method: sft\n")
    (tmp_path / "typo.yaml").write_text("rewards:\n  accuracy: {use: tokenf1, weight: 1}\n")
    (tmp_path / "list.yaml").write_text("- care\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "binary.yaml").write_bytes(b"rewards: \xff")
    for name, error, message in (
        (".", ConfigError, r"\.: is a directory, but must be a YAML file"),
        ("list.yaml", ConfigError, r"list\.yaml: has no section rewards: \(it has: a list\)"),
        ("empty.yaml", ConfigError, r"empty\.yaml: has no section rewards: \(it is empty\)"),
        ("binary.yaml", ConfigError, r"binary\.yaml:1: not UTF-8 text"),
        ("car", ConfigError, "neither a preset \\(care, memory_t1\\) nor a file. Did you mean 'care'"),
        ("none.yaml", ConfigError, "none.yaml: has no section rewards: \\(it has: method\\)"),
        ("typo.yaml", RewardError, r"typo\.yaml: rewards\.accuracy\.use: no built-in reward 'tokenf1'\. Did you mean"),
    ):
        with pytest.raises(error, match=message):
            load_reward(name)


def test_the_command_prints_a_table_or_json(tmp_path, capsys):
    path = write(tmp_path / "in.jsonl", [row(), row(completion="no")])
    out = tmp_path / "out.jsonl"
    assert cli.main(["score", str(path), "--rewards", "care", "--out", str(out)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["part", "weight", "mean", "not", "applicable", "errors"]
    assert table[1].split() == ["accuracy", "0.7", "0.5000", "0", "0"]
    assert table[4].split() == ["total", "0.5000", "(the", "most", "these", "rows", "allow:", "1.0000)"]
    assert table[5:] == ["2 rows scored", f"written to {out}"]
    assert cli.main(["score", str(path), "--rewards", "care", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["total"], report["parts"]["format"]["mean"]) == (2, 0.5, 0.5)
    assert cli.main(["score", str(path), "--rewards", "car"]) == 2
    assert "error: --rewards car: neither a preset" in capsys.readouterr().err


MEASURE = """
import re, resource, sys
from rewards import care_format, weighted
from rlkit.score import score_file
score_file(sys.argv[1], weighted(format=(1.0, care_format())), sys.argv[1] + ".out", workers=int(sys.argv[2]))
# Not ru_maxrss for this process: that starts from the peak of whoever started it.
own = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read()).group(1)
print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc, which is Linux's")
@pytest.mark.parametrize("processes", [1, 2])
def test_memory_does_not_grow_with_the_file(tmp_path, processes):
    filler = "Nothing of the kind was ever said about it. " * 30
    line = json.dumps(row(context=[filler, ROW["context"][0]])) + "\n"
    used = []
    for rows in (2_000, 20_000):
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w") as file:
            file.writelines(itertools.repeat(line, rows))
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, path, str(processes)], capture_output=True, text=True, check=True
        )
        used.append([int(kilobytes) for kilobytes in done.stdout.split()])
    assert path.stat().st_size > 30_000_000
    assert len(path.with_suffix(".jsonl.out").read_bytes().splitlines()) == 20_000
    for small, large in zip(*used, strict=True):
        assert large - small < 10_000  # kilobytes: a third of the file


def test_the_command_answers_at_once_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom rlkit.cli import main\n"
        "try: main(['score', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'trl', 'transformers', 'datasets', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "--skip-bad" in done.stdout


@pytest.mark.parametrize("wanted", [0, -1, 99_999])
def test_a_number_of_workers_that_cannot_help_is_refused(tmp_path, wanted):
    path = write(
        tmp_path / "in.jsonl", [{"question": "q", "context": "c", "golds": "Rome", "completion": "Answer: Rome"}]
    )
    with pytest.raises(ConfigError, match=f"workers is {wanted}, but must be from 1 to"):
        score_file(path, presets.care(), workers=wanted)
