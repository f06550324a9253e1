"""`rlkit report` without a browser: what is in the file, that it is the scorer's, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up_run import GENERATIONS, make_run, write_lines

from rewards import Sample, presets
from rewards.explain import explain
from rlkit import cli
from rlkit.errors import RlkitError
from rlkit.evaluation.folder import claim
from rlkit.report import write_report
from rlkit.reporting.advantages import advantages
from rlkit.reporting.blobs import Pages
from rlkit.reporting.completions import _explain_lines
from rlkit.reporting.folders import Unknown, read_folder
from rlkit.runs import write_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "care")


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return write_report([run], run.parent / "report.html").read_text()


def data(html: str) -> dict[str, Any]:
    """What the data elements hold, by their ids."""
    found = re.findall(r'<script type="application/gzip" id="(\w+)">([^<]*)</script>', html)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def items(found: dict[str, Any], kind: str) -> list[Any]:
    pages = sorted((name for name in found if re.fullmatch(rf"{kind}\d+", name)), key=lambda name: int(name[1:]))
    return [item for name in pages for item in found[name]]


def lines(run: Path, name: str = "samples.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_every_completion_is_there_with_the_scorers_values_and_offsets(run: Path, html: str) -> None:
    found = data(html)
    index, logged = found["index"], lines(run)
    texts, told, rows = (items(found, kind) for kind in "ter")
    assert texts == [line["completion"] for line in logged]
    assert index["columns"]["total"] == pytest.approx([line["score"]["total"] for line in logged])
    for number, line in enumerate(logged):
        sample = Sample.from_record(line)
        expected = explain(sample, presets.care())
        for (name, value, *_), part in zip(told[number]["parts"], expected.parts, strict=True):
            assert (name, value) == (part.name, part.value)
            assert index["parts"][name][number] == pytest.approx(value)
        places = [[q.start, q.end, q.kind, q.place and list(q.place)] for q in expected.quotes]
        assert [[q[0], q[1], q[2], q[4]] for q in told[number].get("quotes", [])] == places
        row = rows[index["columns"]["row"][number]]
        assert row["context"] == [[passage.title, passage.text] for passage in sample.context]
        assert row["facts"] == [[fact.text, [list(place) for place in fact.places]] for fact in expected.facts]


def test_a_row_is_stored_once_however_many_completions_it_has(run: Path, html: str) -> None:
    found = data(html)
    assert len(items(found, "r")) == len({(line["id"], line["source"]) for line in lines(run)}) < len(lines(run))


def test_nothing_that_a_run_holds_is_markup(html: str) -> None:
    without_data = re.sub(r'<script type="application/gzip" id="\w+">[A-Za-z0-9+/=]*</script>', "", html)
    assert "hacked" not in without_data
    assert "some/model" not in without_data
    assert without_data.count("<script") == 2  # uPlot and the report's own


def test_the_policy_names_the_scripts_and_forbids_everything_else(html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    for text in [*re.findall(r"<script>(.*?)</script>", html, re.DOTALL), *re.findall(r"<style>(.*?)</style>", html, re.DOTALL)]:  # fmt: skip
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_the_same_runs_give_the_same_file(run: Path, html: str, tmp_path: Path) -> None:
    assert write_report([run], tmp_path / "again.html").read_text() == html


def test_curves_plan_and_held_out_figures(html: str) -> None:
    charts = {chart["id"]: chart for chart in data(html)["report"]["charts"]}
    assert {"reward", "parts/accuracy", "none", "curriculum", "tokens", "entropy", "step_time", "by_source/accuracy", "quoted_words"} <= set(charts)  # fmt: skip
    planned = next(one for one in charts["curriculum"]["series"] if one.get("of") == "hard")
    assert (planned["x"][0], planned["y"][0]) == (1, 0.0)
    assert planned["y"][-1] == pytest.approx(5 / 6, abs=1e-4)
    held_out = next(one for one in charts["reward"]["series"] if one["dash"])
    assert (held_out["x"], held_out["y"]) == ([2, 4], [0.5, 0.5])
    assert [one["name"] for one in charts["phases"]["series"]] == ["generation", "rewards", "update"]
    assert charts["kl"]["series"] == []
    assert charts["kl"]["absent"] == "TRL logs it where train.beta is above 0"
    assert len(charts["parts/accuracy"]["series"][0]["lo"]) == 6


def test_an_alarm_finds_its_completions(run: Path, html: str) -> None:
    found = data(html)
    named = {place: at for number, alarm, place, at in found["index"]["named"]}
    shown = lines(run, "alarms.jsonl")[0]["completions"]
    logged = lines(run)
    assert set(named) == set(range(len(shown)))
    assert all(logged[at]["completion"].startswith(shown[place]["completion"]) for place, at in named.items())
    assert all(logged[at]["step"] == 4 for at in named.values())


def test_advantages_are_those_of_trl() -> None:
    # As GRPOTrainer 1.16 logged them with `log_completions` for one group.
    totals = [0.3, 0.3, 1.0, 1.0, 0.3, 1.0, 1.0, 0.3]
    assert advantages(totals) == pytest.approx([-0.9352, -0.9352, 0.9352, 0.9352] * 1 + [-0.9352, 0.9352, 0.9352, -0.9352], abs=1e-4)  # fmt: skip
    assert advantages([0.5, 0.5]) == [0.0, 0.0]
    assert advantages([1.0, 0.0], scale="none") == advantages([1.0, 0.0], scale=False) == [0.5, -0.5]
    assert advantages([1.0, 0.0], scale="batch", spread=0.25) == pytest.approx([2.0, -2.0], rel=1e-3)
    assert advantages([1.0, 0.0], scale="batch", spread=0.0) == pytest.approx([5000.0, -5000.0])
    assert advantages([None, None]) == [0.0, 0.0]


@pytest.mark.parametrize(("scale", "known"), [("group", True), ("batch", True), ("none", True)])
def test_advantages_follow_the_run(tmp_path: Path, scale: str, known: bool) -> None:
    run = make_run(tmp_path / "run", train={"scale_rewards": scale})
    index = data(write_report([run], tmp_path / "r.html").read_text())["index"]
    totals, advantage = index["columns"]["total"][:GENERATIONS], index["columns"]["advantage"][:GENERATIONS]
    mean = sum(totals) / GENERATIONS
    assert all((a > 0) == (t > mean) for t, a in zip(totals, advantage, strict=True) if t != mean)
    if scale == "none":
        assert advantage == pytest.approx([total - mean for total in totals], abs=1e-4)


def test_a_group_that_was_not_logged_whole_has_no_advantages(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_lines(run / "samples.jsonl", lines(run)[: GENERATIONS + 1])
    index = data(write_report([run], tmp_path / "r.html").read_text())["index"]
    assert None not in index["columns"]["advantage"][:GENERATIONS]
    assert index["columns"]["advantage"][GENERATIONS] is None


def test_fewer_completions_are_whole_groups_over_the_whole_run(run: Path, tmp_path: Path) -> None:
    found = data(write_report([run], tmp_path / "r.html", completions=24).read_text())
    columns = found["index"]["columns"]
    assert len(columns["step"]) == 24
    assert {columns["group"].count(group) for group in columns["group"]} == {GENERATIONS}
    assert min(columns["step"]) == 1
    assert max(columns["step"]) == 6
    assert "24 of 72 logged completions" in found["report"]["notes"][0]


def test_lines_that_a_running_training_adds_meanwhile_are_left_out(run: Path) -> None:
    raw = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)[:3]
    assert [item.step for item in _explain_lines("x", None, b"\x01\x00", 1, raw)] == [1]


def test_several_runs_are_overlaid_and_their_differences_told(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", seed=5, steps=4)
    report = data(write_report([run, other], tmp_path / "r.html").read_text())["report"]
    assert [each["label"] for each in report["runs"]] == ["care", "other"]
    reward = next(chart for chart in report["charts"] if chart["id"] == "reward")
    assert {one["run"] for one in reward["series"]} == {0, 1}
    assert {"key": "train.seed", "values": ["0", "5"]} in report["differing"]
    twin = data(write_report([run, make_run(tmp_path / "twin", seed=9)], tmp_path / "t.html").read_text())["report"]
    plans = [one for chart in twin["charts"] if chart["id"] == "curriculum" for one in chart["series"] if one.get("of")]
    assert [one["of"] for one in plans] == ["easy", "hard"]  # of one plan, drawn once


def test_a_memory_run_holds_sessions_with_times_and_verdicts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "memory", task="memory_t1")
    found = data(write_report([run], tmp_path / "r.html").read_text())
    logged = lines(run)
    for number, line in enumerate(logged):
        sample = Sample.from_record(line)
        notes = explain(sample, presets.memory_t1()).sessions
        row = items(found, "r")[found["index"]["columns"]["row"][number]]
        told = items(found, "e")[number]
        assert [session["id"] for session in row["sessions"]] == [note.id for note in notes if note.exists]
        assert [each[0] for each in told["selected"]] == [note.id for note in notes if note.selected]
        assert [s["value"] for s in row["sessions"]] == [note.value for note in notes if note.exists]


def test_a_run_in_any_state_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "killed")
    (run / "done.json").unlink()
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"step": 7, "rew')  # a killed process
    report = data(write_report([run], tmp_path / "r.html").read_text())["report"]
    assert report["runs"][0]["state"]["told"] == "not finished"
    assert report["runs"][0]["steps"] == 6
    for name in ("metrics.jsonl", "samples.jsonl", "alarms.jsonl", "environment.json", "data.json"):
        (run / name).unlink()
    report = data(write_report([run], tmp_path / "r.html").read_text())["report"]
    assert report["runs"][0]["notes"] == ["No step has been logged yet."]


def test_an_sft_run_has_curves_and_no_completions(tmp_path: Path) -> None:
    run = tmp_path / "sft"
    run.mkdir()
    config = {
        "method": "sft",
        "model": {"model_name_or_path": "m"},
        "sources": {"s": {"format": "records", "path": "x"}},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    write_lines(run / "metrics.jsonl", [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}])
    report = data(write_report([run], tmp_path / "r.html").read_text())["report"]
    assert [chart["series"][0]["y"] for chart in report["charts"] if chart["id"] == "loss"] == [[2.0]]
    assert "as in every SFT run" in report["notes"][0]


def test_a_users_own_part_is_not_imported_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_part.py").write_text("imported = True\ndef own(sample):\n    return 0.5\n")
    monkeypatch.chdir(tmp_path)
    parts = {"accuracy": {"use": "token_f1", "weight": 0.7}, "own": {"use": "own_part:own", "weight": 0.3}}
    run = make_run(tmp_path / "run", rewards=parts)
    folder = read_folder(run, "run")
    assert folder.reward.parts["own"] == Unknown("own_part:own")
    assert dict(folder.reward.weights) == {"accuracy": 0.7, "own": 0.3}
    write_report([run], tmp_path / "r.html")
    assert "own_part" not in sys.modules
    assert not isinstance(read_folder(run, "run", own_parts=True).reward.parts["own"], Unknown)
    del sys.modules["own_part"]


def test_the_evaluation_stands_beside_the_published_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    folder = run / "evaluation"
    claim(folder, {"model": "m"}, {})
    cell = {"suite": "hotpotqa", "subset": "hotpotqa", "context": "full", "metric": "f1", "mean": 0.5, "n": 40, "none": 0, "low": 0.4, "high": 0.6}  # fmt: skip
    suite = {"title": "HotpotQA", "headline": "f1", "strict": False, "overall": "macro", "groups": {}, "published": ["care_longbench", "since_removed"],
             "suite": {}, "notes": ["a note"], "cells": [cell], "controls": {}}  # fmt: skip
    write_json(folder / "results.json", {"model": "m", "suites": {"hotpotqa": suite}})
    (folder / "examples.jsonl").write_text("")
    report = data(write_report([run], tmp_path / "r.html").read_text())["report"]
    (table,) = report["evaluations"]
    measured = [row for row in table["rows"] if row["source"] == "measured"]
    assert [row["label"] for row in measured] == ["run"]
    figure = next(figure for figure in measured[0]["figures"] if figure)
    assert (figure["value"], figure["low"], figure["n"]) == (50.0, 40.0, 40)
    assert any(row["source"] == "published" for row in table["rows"])


def test_pages_are_cut_by_size_and_found_by_number() -> None:
    pages = Pages("t", page_bytes=20)
    for number in range(10):
        pages.add("x" * number)
    elements = "".join(pages.elements())
    assert items(data(elements), "t") == ["x" * number for number in range(10)]
    assert pages.starts[0] == 0
    assert len(data(elements)) == len(pages.starts) > 1


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    assert cli.main(["report", str(run), "--out", str(out), "--title", "A & <B> {{style}}"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert "<title>A &amp; &lt;B&gt; {{style}}</title>" in out.read_text()
    assert cli.main(["report", str(run), "--out", str(out), "--completions", "0"]) == 0  # an older report is replaced
    assert data(out.read_text())["report"]["completions"] == 0


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RlkitError, match=r"is no run, because there is no config.yaml in it. Did you mean 'care'\?"):
        write_report([run.parent / "car"], tmp_path / "r.html")
    with pytest.raises(RlkitError, match="It holds the runs care"):
        write_report([run.parent], tmp_path / "r.html")
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    with pytest.raises(RlkitError, match="is a file that is no report, and is not overwritten"):
        write_report([run], notes)
    assert notes.read_text() == "mine"
    with pytest.raises(RlkitError, match="--completions: is -1"):
        write_report([run], tmp_path / "r.html", completions=-1)
    with pytest.raises(RlkitError, match="is no evaluation"):
        write_report([run], tmp_path / "r.html", evaluation_folders=[tmp_path])
    broken = make_run(tmp_path / "broken")
    (broken / "samples.jsonl").write_text('{"step": 1}\nnot json\n{"step": 2}\n')
    with pytest.raises(RlkitError, match=r"samples.jsonl:2: not a line of JSON"):
        write_report([broken], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
