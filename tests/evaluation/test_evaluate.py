"""`rlkit evaluate` from the command to its files: models that are ten-line fakes, predictions, folders, tables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit import cli
from rlkit.data.layout import Report
from rlkit.data.synthetic import generate
from rlkit.errors import DataError, RunError
from rlkit.evaluation import settings
from rlkit.evaluation.folder import Answers
from rlkit.evaluation.predictions import read_predictions
from rlkit.evaluation.results import notes_of
from rlkit.folder_lock import held
from rlkit.generation.endpoint import Endpoint, EndpointError
from rlkit.generation.model import Conversation, Reply
from rlkit.generation.weights import GenerationError

ROWS = list(generate("easy", rows=12, seed=5))
GOLDS = {row["question"]: row["golds"][0] for row in ROWS}


@dataclass(frozen=True)
class Fake(Endpoint):
    """Answers as `say` does and remembers what it was asked; fails after `patience` answers."""

    def complete(
        self, conversations: Iterable[Conversation], on_reply: Callable[[int, Reply], None] = lambda number, reply: None
    ) -> Iterator[Reply]:
        for number, conversation in enumerate(conversations):
            if len(ASKED) >= PATIENCE[0]:
                raise EndpointError("enough")
            ASKED.append(conversation[-1]["content"])
            question = conversation[-1]["content"].rpartition("Question: ")[2]
            reply = Reply(f"<think></think> Answer: {GOLDS.get(question) if number % 2 else 'Nobody'}", "stop", 3, 2)
            on_reply(number, reply)
            yield reply


ASKED: list[str] = []
PATIENCE = [10**6]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of two subsets in the working directory, and a fake in the place of endpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for number, name in enumerate(("one", "two")):
        rows = ROWS[number * 6 : number * 6 + 6]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {
        "title": "Small world",
        "data": {name: {"format": "records", "path": f"{name}.jsonl"} for name in ("one", "two")},
        "contexts": {"full": None, "oracle": None},
        "metrics": ["em", "f1", "format", "form_care"],
        "max_new_tokens": 9,
        "table": {"overall": "macro"},
    }
    Path("small.yaml").write_text(yaml.safe_dump(suite))
    monkeypatch.setattr("rlkit.generation.open.Endpoint", Fake)
    monkeypatch.setattr(settings, "Endpoint", Fake)
    ASKED.clear()
    PATIENCE[0] = 10**6
    return tmp_path


MODEL = ("--model", "http://127.0.0.1:1/v1#fake")


def evaluate(*words: str) -> int:
    return cli.main(["evaluate", *words])


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.mark.usefixtures("world")
def test_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out", "--controls") == 0
    shown = capsys.readouterr().out
    assert "Small world: EM" in shown
    assert "control: gold" in shown
    assert "measured" in shown
    assert "│ one  " not in shown  # of every figure only those of all, and where the others are
    assert "table.md" in shown
    assert "| one | full | F1 |" in Path("out/table.md").read_text()
    examples = lines("out/examples.jsonl")
    assert len(examples) == 12
    assert examples[0].keys() >= {"suite", "subset", "id", "context", "completion", "values", "record", "finish_reason"}
    assert (examples[0]["suite"], examples[0]["subset"], examples[0]["context"]) == ("small", "one", "full")
    assert [example["values"]["em"] for example in examples] == [0.0, 1.0] * 6
    results = json.loads(Path("out/results.json").read_text())
    cells = {(cell["subset"], cell["metric"]): cell for cell in results["suites"]["small"]["cells"]}
    assert cells["one", "em"]["mean"] == cells["overall", "em"]["mean"] == 0.5
    assert cells["one", "em"]["n"] == 6
    assert cells["one", "em"]["low"] < 0.5 < cells["one", "em"]["high"]
    gold = {(cell["subset"], cell["metric"]): cell["mean"] for cell in results["suites"]["small"]["controls"]["gold"]}
    assert gold["overall", "em"] == gold["overall", "format"] == 1.0
    assert "| model | source |" in Path("out/table.md").read_text()


@pytest.mark.usefixtures("world")
def test_an_evaluation_that_stops_asks_nothing_twice_and_ends_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    PATIENCE[0] = 5
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 2
    assert "enough" in capsys.readouterr().err
    assert not Path("out/examples.jsonl").exists()
    PATIENCE[0] = 10**6
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 0
    assert len(ASKED) == len(set(ASKED)) == 12
    before = Path("out/results.json").read_bytes()
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 0
    assert len(ASKED) == 12
    assert Path("out/results.json").read_bytes() == before


@dataclass(frozen=True)
class Refusing(Fake):
    """Refuses what `REFUSED` names, as an endpoint with `tolerate` does; without, that is an error."""

    def complete(
        self, conversations: Iterable[Conversation], on_reply: Callable[[int, Reply], None] = lambda number, reply: None
    ) -> Iterator[Reply]:
        for number, conversation in enumerate(conversations):
            ASKED.append(conversation[-1]["content"])
            reply = Reply("Answer: yes", "stop", 3, 2)
            if any(question in ASKED[-1] for question in REFUSED):
                reply = Reply("too long, said the server: yes", "refused", 0, 0)
                if not self.tolerate:
                    error = EndpointError("answered 400: too long.", "refused")
                    error.number = number
                    raise error
            on_reply(number, reply)
            yield reply


REFUSED: list[str] = []


@pytest.mark.usefixtures("world")
def test_a_refused_request_is_an_empty_answer_that_is_noted_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rlkit.generation.open.Endpoint", Refusing)
    monkeypatch.setattr(settings, "Endpoint", Refusing)
    REFUSED[:] = [ROWS[4]["question"]]
    words = (*MODEL, "--suite", "small.yaml", "--out", "out", "--json")
    assert evaluate(*words) == 2
    told = capsys.readouterr().err
    assert f"small/one/full/{ROWS[4]['id']}: answered 400: too long. model.tolerate=N lets pass" in told
    assert evaluate(*words, "model.tolerate=1") == 0
    assert "full: 1 of 12 rows: request refused, counted as an empty answer" in json.loads(capsys.readouterr().out)["suites"]["small"]["notes"]  # fmt: skip
    refused = lines("out/examples.jsonl")[4]
    assert (refused["completion"], refused["finish_reason"]) == ("", "refused")
    REFUSED.clear()
    ASKED.clear()
    assert evaluate(*words, "model.tolerate=1") == 0
    assert len(ASKED) == 1
    assert lines("out/examples.jsonl")[4]["completion"] == "Answer: yes"
    assert json.loads(capsys.readouterr().out)["suites"]["small"]["notes"] == []


def test_an_answer_goes_before_a_refusal_in_another_processs_journal(tmp_path: Path) -> None:
    Answers(tmp_path, 0).put("q", Reply("no", "refused", 0, 0))
    assert "q" not in Answers(tmp_path)
    Answers(tmp_path, 1).put("q", Reply("yes", "stop", 3, 2))
    assert "q" in Answers(tmp_path)
    assert Answers(tmp_path).get("q") == Reply("yes", "stop", 3, 2)


@pytest.mark.usefixtures("world")
def test_another_number_of_processes_reuses_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shares of four processes one after the other, as they find each other's journals; then of one process."""
    from rlkit.evaluation import run
    from rlkit.evaluation.questions import load_questions
    from rlkit.evaluation.suite import load_suite

    model = Fake("http://127.0.0.1:1/v1", "fake")
    asked = load_questions([load_suite("small.yaml")], ["all"])
    monkeypatch.setattr(run, "wait_for_all", lambda: None)
    monkeypatch.setattr(run, "first", lambda work: work())
    done: list[int] = []
    for size, number in [(4, 0), (4, 1), (4, 3), (3, 0), (3, 1), (3, 2)]:
        monkeypatch.setattr(run, "world_size", lambda size=size: size)
        monkeypatch.setattr(run, "rank", lambda number=number: number)
        run.generate(model, asked, None, Path("out"), done.append)
    assert len(ASKED) == len(set(ASKED)) == 24
    assert {len(lines(f"out/answers/process-{number}.jsonl")) for number in (0, 1, 3)} != {0}


@pytest.mark.usefixtures("world")
def test_a_folder_collects_suites_and_contexts_of_one_model_and_refuses_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 0
    assert evaluate(*MODEL, "--suite", "small.yaml", "--context", "oracle", "--out", "out") == 0
    assert {(e["context"], e["subset"]) for e in lines("out/examples.jsonl")} == {
        (context, subset) for context in ("full", "oracle") for subset in ("one", "two")
    }
    Path("other.yaml").write_text(Path("small.yaml").read_text())
    assert evaluate(*MODEL, "--suite", "other.yaml", "--out", "out") == 0
    assert {e["suite"] for e in lines("out/examples.jsonl")} == {"small", "other"}
    capsys.readouterr()
    assert evaluate("--model", "http://127.0.0.1:1/v1#else", "--suite", "small.yaml", "--out", "out") == 2
    assert "holds the evaluation of another model" in capsys.readouterr().err
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "mine") == 2
    assert "stays untouched" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_a_folder_says_in_words_what_was_asked_and_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "told", "model.sampling.top_p=0.5") == 0
    note = json.loads(Path("told/evaluation.json").read_text())
    assert note["settings"]["model"] == "fake"
    assert note["settings"]["sampling"] == {"top_p": 0.5}
    suite = json.loads(Path("told/results.json").read_text())["suites"]["small"]["suite"]
    assert suite["data"]["one"] == {"format": "records", "path": "one.jsonl"}
    assert (suite["max_new_tokens"], suite["contexts"]["oracle"]["policy"]) == (9, "oracle")
    capsys.readouterr()
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "told", "model.sampling.top_p=0.9") == 2
    assert "settings.sampling.top_p: 0.5 -> 0.9" in capsys.readouterr().err
    assert (
        evaluate(*MODEL, "--suite", "small.yaml", "--out", "told", "model.sampling.top_p=0.5", "model.concurrency=2")
        == 0
    )
    Path("p.jsonl").write_text("".join(json.dumps({"id": row["id"], "completion": "x"}) + "\n" for row in ROWS))
    assert evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", "--out", "scored") == 0
    Path("p.jsonl").write_text("".join(json.dumps({"id": row["id"], "completion": "y"}) + "\n" for row in ROWS))
    capsys.readouterr()
    assert evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", "--out", "scored") == 2
    assert "files of the model or of the predictions have changed" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_notes_and_controls_of_contexts_measured_earlier_stay() -> None:
    Path("one.jsonl").write_text("".join(json.dumps({**row, "evidence": []}) + "\n" for row in ROWS[:6]))
    assert evaluate(*MODEL, "--suite", "small.yaml", "--context", "oracle", "--out", "out", "--controls") == 0
    first = json.loads(Path("out/results.json").read_text())["suites"]["small"]
    assert [note for note in first["notes"] if note.startswith("oracle: 6 of 12 rows left out")]
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 0
    both = json.loads(Path("out/results.json").read_text())["suites"]["small"]
    assert both["notes"] == first["notes"]
    assert both["controls"] == first["controls"]
    assert evaluate(*MODEL, "--suite", "small.yaml", "--context", "oracle", "--out", "out", "--controls") == 0
    again = json.loads(Path("out/results.json").read_text())["suites"]["small"]
    assert (again["notes"], again["controls"]) == (first["notes"], first["controls"])


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("stopped_in", ["write_json", "write_text"])
@pytest.mark.parametrize("before", [[], ["small.yaml"]])
def test_no_suite_is_lost_where_writing_stops(
    before: list[str], stopped_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    Path("other.yaml").write_text(Path("small.yaml").read_text())
    for suite in before:
        assert evaluate(*MODEL, "--suite", suite, "--out", "out") == 0
    with monkeypatch.context() as patched:
        patched.setattr(f"rlkit.evaluation.results.{stopped_in}", stop)
        with contextlib.suppress(KeyboardInterrupt):
            assert evaluate(*MODEL, "--suite", "other.yaml", "--out", "out") != 0
    if Path("out/examples.jsonl").exists():
        known = json.loads(Path("out/results.json").read_text())["suites"]
        assert {e["suite"] for e in lines("out/examples.jsonl")} <= set(known)
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 0
    assert evaluate(*MODEL, "--suite", "other.yaml", "--out", "out") == 0
    assert {e["suite"] for e in lines("out/examples.jsonl")} == {"small", "other"}


def test_a_folder_that_cannot_be_written_into_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()  # as root there is no folder without the right to write
    with pytest.raises(RunError, match=r"cannot be made or written into \(Is a directory\); choose another --out"), held(tmp_path, "--out"):  # fmt: skip
        pass


@pytest.mark.usefixtures("world")
def test_a_second_process_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with held(Path("out"), "--out"):
        assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 2
    assert "is working in this folder" in capsys.readouterr().err
    assert ASKED == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*MODEL, "--suite", "smal"], "there is no suite 'smal'"),
        ([*MODEL], "--suite: none given"),
        (["--suite", "small.yaml"], "--model: none given"),
        (["--model", "http://127.0.0.1:1/v1", "--suite", "small.yaml"], "not which of its models"),
        ([*MODEL, "--suite", "small.yaml", "small.yaml"], "small is there twice"),
        ([*MODEL, "--suite", "small.yaml", "--context", "orcale"], "Did you mean 'oracle'"),
        (
            [*MODEL, "--suite", "small.yaml", "--context", "time_bm25"],
            "can show none of its rows (a row without sessions",
        ),
        ([*MODEL, "--suite", "small.yaml", "--limit", "0"], "--limit: is 0"),
        ([*MODEL, "--suite", "locomo"], "suites.locomo.data.locomo.path=FILE"),
        ([*MODEL, "--suite", "small.yaml", "data_seed=3"], "small.yaml has no made-up rows to draw anew"),
        ([*MODEL, "--suite", "synthetic", "data_seed=-1"], "data_seed: is -1, but must be a whole number"),
        ([*MODEL, "--suite", "synthetic", "data_seed=true"], "data_seed: is True, but must be a whole number"),
        ([*MODEL, "--suite", "synthetic", "model=3"], "model: is 3, but must be a mapping"),
        ([*MODEL, "--suite", "small.yaml", "model.temp=1"], "model.temp: Fake has no such field"),
        ([*MODEL, "--suite", "small.yaml", "modle.x=1"], "modle: no such key"),
        ([*MODEL, "--predictions", "p.jsonl", "--suite", "small.yaml"], "--model and --predictions: give one"),
        (["--predictions", "p.jsonl", "--suite", "small.yaml"], "there is no such file"),
        (["absent.yaml", *MODEL, "--suite", "small.yaml"], "there is no such config file"),
    ],
)
def test_mistakes_stop_before_anything_is_asked(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*words) == 2
    assert message in capsys.readouterr().err
    assert ASKED == []
    assert not Path("runs").exists()


@pytest.mark.usefixtures("world")
def test_a_data_seed_draws_made_up_rows_anew_and_no_others() -> None:
    data = {
        "fixed": {"format": "records", "path": "one.jsonl"},
        "plain": {"format": "synthetic", "level": "easy", "rows": 3, "split": "test"},
        "changed": {"format": "synthetic", "level": "easy", "rows": 3, "split": "test", "counterfactual": True},
    }
    Path("both.yaml").write_text(yaml.safe_dump({"title": "Both", "data": data, "metrics": ["em"]}))
    asked = {}
    for number in ("5", "6"):
        assert evaluate(*MODEL, "--suite", "both.yaml", "--out", number, f"data_seed={number}") == 0
        asked[number] = {subset: [e["record"]["question"] for e in lines(f"{number}/examples.jsonl") if e["subset"] == subset] for subset in data}  # fmt: skip
    assert asked["5"]["fixed"] == asked["6"]["fixed"]
    assert asked["5"]["plain"] != asked["6"]["plain"]
    assert asked["5"]["plain"] == asked["5"]["changed"]
    saved = json.loads(Path("5/results.json").read_text())["suites"]["both"]["suite"]["data"]
    assert [saved[name].get("seed") for name in data] == [None, 5, 5]


@pytest.mark.usefixtures("world")
def test_a_path_of_the_users_is_not_advised_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*MODEL, "--suite", "locomo", "suites.locomo.data.locomo.path=mine.json") == 2
    told = capsys.readouterr().err
    assert "mine.json" in told
    assert "path=FILE" not in told


def test_rows_without_labels_or_with_one_id_stop_it(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [ROWS[0], ROWS[0]]))
    assert evaluate(*MODEL, "--suite", "small.yaml") == 2
    assert f"two rows have the id {ROWS[0]['id']!r}" in capsys.readouterr().err
    assert ASKED == []


def test_a_limit_that_needs_a_tokenizer_says_so_before_anything_is_asked(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*MODEL, "--suite", "small.yaml", "suites.small.yaml.x=1") == 2
    suite = yaml.safe_load(Path("small.yaml").read_text())
    Path("small.yaml").write_text(yaml.safe_dump({**suite, "contexts": {"middle": {"max_tokens": 50}}}))
    capsys.readouterr()
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out") == 2
    assert "tokenizer" in capsys.readouterr().err
    assert ASKED == []


@pytest.mark.usefixtures("world")
def test_predictions_of_others_score_as_the_model_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out", "--json") == 0
    model = json.loads(capsys.readouterr().out)["suites"]["small"]["cells"]
    Path("p.jsonl").write_text("".join(json.dumps({"id": e["id"], "response": e["completion"]}) + "\n" for e in lines("out/examples.jsonl")))  # fmt: skip
    for file in ("p.jsonl", "out/examples.jsonl"):
        assert evaluate("--predictions", file, "--suite", "small.yaml", "--json") == 0
        assert json.loads(capsys.readouterr().out)["suites"]["small"]["cells"] == model
    assert evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", "--workers", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suites"]["small"]["cells"] == model


@pytest.mark.usefixtures("world")
def test_missing_extra_and_double_predictions_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def said(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *words: str) -> tuple[int, str]:
        rows = change([{"id": row["id"], "prediction": "Answer: x"} for row in ROWS])
        Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        code = evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", *words)
        captured = capsys.readouterr()
        return code, captured.err + captured.out

    code, told = said(lambda rows: rows[3:])
    assert code == 2
    assert f"3 of 12 questions have no prediction ({ROWS[0]['id']}" in told
    assert "--allow-missing" in told
    assert said(lambda rows: rows[3:], "--allow-missing")[0] == 0
    code, told = said(lambda rows: [*rows, {"id": "stray", "prediction": "x"}])
    assert code == 2
    assert "1 predictions have an id that no question of small has (stray)" in told
    code, told = said(lambda rows: [*rows, rows[4]])
    assert code == 2
    assert "2 predictions for id" in told
    assert "(lines 5, 13)" in told
    code, told = said(lambda rows: [{**row, "id": f"x{row['id']}"} for row in rows], "--allow-missing")
    assert code == 2
    assert "12 of 12 questions" in told
    code, told = said(lambda rows: [{"id": rows[0]["id"], "text": "x"}])
    assert code == 2
    assert "p.jsonl:1: has none of completion, prediction, response" in told
    code, told = said(lambda rows: [{"id": rows[0]["id"], "completion": 7}])
    assert "p.jsonl:1: completion: is 7" in told
    assert said(lambda rows: rows, "--limit", "2")[0] == 0


@pytest.mark.usefixtures("world")
def test_predictions_of_an_unknown_context_are_graded_on_the_whole_record(capsys: pytest.CaptureFixture[str]) -> None:
    suite = yaml.safe_load(Path("small.yaml").read_text())
    bm25 = {"context": "bm25", "contexts": {"bm25": {"top_k": 1, "budget_tokens": 50}, "full": None}}
    Path("small.yaml").write_text(yaml.safe_dump({**suite, **bm25}))
    rows = [{"id": row["id"], "completion": "Answer: x"} for row in ROWS]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", "--out", "p", "--controls") == 0
    assert lines("p/examples.jsonl")[0]["record"]["context"] == ROWS[0]["context"]
    assert "12 of 12 rows: graded on the whole context" in capsys.readouterr().out
    for named, words in ((rows, ("--context", "bm25")), ([{**row, "context": "bm25"} for row in rows], ())):
        Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
        assert evaluate("--predictions", "p.jsonl", "--suite", "small.yaml", *words) == 2
        assert "there is no tokenizer" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_rows_that_the_loader_leaves_out_are_noted_and_may_have_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "_id": "h",
        "type": "bridge",
        "question": "Who wrote Emma?",
        "context": [["Emma", ["Emma is by Jane Austen."]]],
        "supporting_facts": [["Emma", 0]],
        "evidences": [],
    }
    Path("dev.json").write_text(
        json.dumps([{**row, "_id": f"q{number}", "answer": "Jane Austen" if number < 3 else ""} for number in range(5)])
    )
    data = {"two": {"format": "2wikimultihopqa", "path": "dev.json"}}
    Path("wiki.yaml").write_text(yaml.safe_dump({"title": "Wiki", "data": data, "metrics": ["em"]}))
    for ids, code in ((("q0", "q1", "q2", "q3", "q4"), 0), (("q0", "q1", "q2", "q3", "q4", "q5"), 2)):
        Path("p.jsonl").write_text("".join(json.dumps({"id": name, "completion": "x"}) + "\n" for name in ids))
        assert evaluate("--predictions", "p.jsonl", "--suite", "wiki.yaml", "--json") == code
        told = capsys.readouterr()
        if code:
            assert "3 predictions have an id that no question of wiki has" in told.err
            assert "2 rows were left out" in told.err
        else:
            (note,) = json.loads(told.out)["suites"]["wiki"]["notes"]
            assert note.startswith("data.two: 2 of 5 rows left out: ")


@pytest.mark.usefixtures("world")
def test_rows_that_a_context_cannot_show_may_have_predictions(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "evidence": row["evidence"] if number % 2 else []} for number, row in enumerate(ROWS)]
    Path("one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("p.jsonl").write_text("".join(json.dumps({"id": row["id"], "completion": "x"}) + "\n" for row in rows))
    Path("c.yaml").write_text(yaml.safe_dump({"suites": {"small.yaml": {"data": {"two": None}}}}))
    words = ("c.yaml", "--predictions", "p.jsonl", "--context", "oracle")
    assert evaluate(*words, "--json") == 0
    told = json.loads(capsys.readouterr().out)["suites"]["small"]
    assert told["notes"] == ["oracle: 6 of 12 rows left out: no evidence is labelled"]
    assert {cell["n"] for cell in told["cells"]} == {6}
    Path("one.jsonl").write_text("".join(json.dumps({**row, "evidence": []}) + "\n" for row in rows))
    Path("q.jsonl").write_text("".join(json.dumps({"id": row["id"], "completion": "x", "context": "full"}) + "\n" for row in rows))  # fmt: skip
    assert evaluate("c.yaml", "--predictions", "q.jsonl", "--context", "all", "--json") == 0
    cells = json.loads(capsys.readouterr().out)["suites"]["small"]["cells"]
    assert {cell["context"] for cell in cells} == {"full"}
    assert "context oracle can show none of its rows (no evidence is labelled), so it is left out" in caplog.text
    assert evaluate(*words) == 2
    assert "can show none of its rows (no evidence is labelled); leave it out, or take another: full." in capsys.readouterr().err  # fmt: skip
    Path("one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Path("p.jsonl").open("a") as file:
        file.write('{"id": "stray", "completion": "x"}')
    assert evaluate(*words) == 2
    assert "1 predictions have an id that no question of small has (stray)" in capsys.readouterr().err


def test_what_a_source_notes_may_be_more_than_its_rows() -> None:
    source, context = Report(), Report()
    for _ in range(3):
        source.note("a date without a session", "c1")
    source.drop("no answer", "q9")
    context.note("cut in the middle", "q1")
    context.keep()
    assert notes_of({"locomo": source}, {"full": context}, [("full", "length"), ("full", "stop")]) == [
        "data.locomo: 1 of 1 rows left out: no answer",
        "data.locomo: a date without a session (3)",
        "full: 1 of 1 rows: cut in the middle",
        "full: 1 of 2 answers were cut off at max_new_tokens",
    ]


@pytest.mark.parametrize("tokens", ["abc", [1], {"n": 1}, -3, True, None, 1.5])
def test_a_count_of_tokens_that_is_none_is_left_alone(tokens: Any, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "q", "completion": "x", "completion_tokens": tokens}))
    ((prediction,),) = read_predictions(tmp_path / "p.jsonl").by_id.values()
    assert prediction.reply.completion_tokens == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "q", "completion": None}, "p.jsonl:1: completion is null, so there is nothing to score"),
        ({"id": None, "completion": "x"}, "p.jsonl:1: id is null"),
        ({f"q{number} {'long ' * 50}": "an answer" for number in range(900)}, "the columns here are q0 long"),
        ({"id": "q", "completoin": "x"}, "Did you mean 'completion'"),
    ],
)
def test_a_line_without_id_or_completion_is_told_in_short(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "p.jsonl")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.usefixtures("world")
def test_with_several_contexts_every_prediction_names_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    contexts = ("full", "oracle")
    rows = [{"id": row["id"], "completion": f"Answer: {name}", "context": name} for name in contexts for row in ROWS]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--predictions", "p.jsonl", "--suite", "small.yaml", "--context", *contexts)
    assert evaluate(*words, "--out", "p") == 0
    assert all(line["completion"] == f"Answer: {line['context']}" for line in lines("p/examples.jsonl"))
    del rows[3]["context"]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert evaluate(*words) == 2
    assert "p.jsonl:4: names no context, so it would count for each of full, oracle" in capsys.readouterr().err


WINDOW = 200


class Words:
    """A tokenizer of words."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(range(len(text.split())))

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, token_ids))


@dataclass(frozen=True)
class Narrow(Fake):
    """Has a window, as a local model."""

    window_tokens = WINDOW

    def prompt_ids(self, conversation: Conversation) -> list[int]:
        ids = Words().encode(" ".join(message["content"] for message in conversation))
        if len(ids) + 9 > WINDOW:
            raise GenerationError(f"a prompt has {len(ids)} tokens.")
        return ids


def test_a_prompt_over_the_window_is_found_before_anything_is_asked(world: Path) -> None:
    from rlkit.evaluation import run
    from rlkit.evaluation.questions import load_questions
    from rlkit.evaluation.suite import load_suite

    last = {**ROWS[11], "context": [{"title": "Long", "text": "word " * WINDOW}]}
    Path("two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS[6:11], last]))
    model = Narrow("http://127.0.0.1:1/v1", "fake")
    suite = load_suite("small.yaml", {"prompt": {"system": None}})
    with pytest.raises(
        GenerationError, match=rf"small/two/full/{last['id']}: .*suites.small.contexts.full.max_tokens=63 cuts"
    ):
        run.generate(model, load_questions([suite]), Words(), world / "out", lambda done: None)
    assert ASKED == []


def test_a_limit_that_the_window_lowers_is_noted(world: Path) -> None:
    from rlkit.evaluation import run
    from rlkit.evaluation.questions import load_questions
    from rlkit.evaluation.suite import load_suite

    model = Narrow("http://127.0.0.1:1/v1", "fake")
    changes = {"prompt": {"system": None}, "contexts": {"full": {"max_tokens": 1500}}}
    (asked,) = load_questions([load_suite("small.yaml", changes)])
    report = Report()
    run._check_room(model, asked, Words(), Answers(world / "answers"))
    with pytest.raises(RunError, match="no answer to"):
        list(run.answered_by_model(model, asked, Words(), world, {"full": report}))
    assert "max_tokens is 63, not 1,500, to leave the model room to answer" in report.noted


@pytest.mark.usefixtures("world")
def test_two_models_are_compared_and_seeds_put_together(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": row["id"], "completion": f"<think></think> Answer: {row['golds'][0]}"} for row in ROWS]
    Path("good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("bad.jsonl").write_text("".join(json.dumps({**row, "completion": "Answer: x"}) + "\n" for row in rows))
    for name in ("good", "bad"):
        assert evaluate("--predictions", f"{name}.jsonl", "--suite", "small.yaml", "--out", name) == 0
    capsys.readouterr()
    assert evaluate("--compare", "bad", "good", "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)
    differences = {(row["subset"], row["metric"]): row["difference"] for row in table["rows"]}
    assert differences["overall", "em"] == 1.0
    assert evaluate("--seeds", "bad", "good", "--json") == 0
    spread = {(row["subset"], row["metric"]): row for row in json.loads(capsys.readouterr().out)[-1]["rows"]}
    assert spread["overall", "em"]["mean"] == 0.5
    assert spread["overall", "em"]["runs"] == 2
    assert evaluate("--show", "good") == 0
    assert "100.0" in capsys.readouterr().out
    assert evaluate("--compare", "bad", "goood") == 2
    assert "Did you mean 'good'" in capsys.readouterr().err


@pytest.mark.usefixtures("world")
def test_json_holds_the_published_rows_beside_the_measured(capsys: pytest.CaptureFixture[str]) -> None:
    suite = yaml.safe_load(Path("small.yaml").read_text())
    suite["data"]["hotpotqa"] = suite["data"].pop("one")
    Path("small.yaml").write_text(yaml.safe_dump({**suite, "table": {"published": "care_longbench"}, "headline": "f1"}))
    assert evaluate(*MODEL, "--suite", "small.yaml", "--out", "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)["suites"]["small"]
    assert {0.0 <= cell["mean"] <= 1.0 for cell in told["cells"]} == {True}
    (table,) = told["tables"]
    place = [column["title"] for column in table["columns"]].index("Hotpot")
    assert table["columns"][place]["scale"] == 100.0
    figures = {row["label"]: (row["source"], row["figures"][place]) for row in table["rows"]}
    assert figures["fake"][0] == "measured"
    assert figures["fake"][1]["n"] == 6
    assert figures["Llama-3.1-8B, CARE"] == ("published", {"value": 63.09})
    assert "arXiv 2509.13683" in table["published"]["source"]
    assert evaluate("--show", "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suites"]["small"]["tables"] == [table]


@pytest.mark.usefixtures("world")
def test_a_config_names_model_data_and_folder() -> None:
    config = {
        "model": {"base_url": "http://127.0.0.1:1/v1", "model": "fake", "sampling": {"top_p": 0.5}},
        "suites": {"small.yaml": {"data": {"two": None}, "metrics": ["em"], "headline": "em"}},
        "output_dir": "there",
    }
    Path("e.yaml").write_text(yaml.safe_dump(config))
    assert evaluate("e.yaml", "--limit", "2") == 0
    assert {e["subset"] for e in lines("there/examples.jsonl")} == {"one"}
    assert len(ASKED) == 2


@pytest.mark.usefixtures("world")
def test_a_training_config_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.yaml").write_text("method: grpo\n")
    assert evaluate("train.yaml", *MODEL, "--suite", "small.yaml") == 2
    assert "is a training config" in capsys.readouterr().err


def test_a_run_is_asked_as_it_was_trained(world: Path) -> None:
    from rlkit.evaluation.suite import load_suite

    suite = load_suite("small.yaml")
    assert settings.as_trained(suite, {"prompt": {"system": None}}).prompt.system is None
    assert settings.as_trained(suite, {"task": "memory_t1", "prompt": {"system": None}}) == suite
    assert settings.as_trained(suite, {}) == suite
