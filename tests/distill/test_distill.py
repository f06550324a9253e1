"""The whole of `rlkit distill` against a scripted server: rows, rejects by reason, report, resume, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_endpoint import Say, good_models, question_of, scripted

from rewards import Sample, presets
from rlkit import cli
from rlkit.data.load import load_source
from rlkit.distill.pipeline import distill
from rlkit.distill.report import SHOWN
from rlkit.distill.settings import Settings, parse_settings
from rlkit.errors import ConfigError, DataError, RunError
from rlkit.generation.endpoint import EndpointError

pytest.importorskip("openai", reason="the extra `llm` is not installed")

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
PEOPLE = (
    "Ann",
    "Leo",
    "Mia",
    "Tom",
    "Eva",
    "Max",
    "Ida",
    "Jon",
    "Kim",
    "Lou",
    "Nia",
    "Ole",
    "Pia",
    "Rex",
    "Sue",
    "Ulf",
)


def record(number: int, **changes: object) -> dict[str, object]:
    name, town = PEOPLE[number % len(PEOPLE)], f"Fenwick{number}"
    facts = [
        f"{name} is the elder sister of the painter Bo of {town}.",
        f"Bo of {town} was born in the year {1900 + number}.",
    ]
    return {
        "id": f"q{number}",
        "question": f"When was the brother of {name} of {town} born?",
        "context": [
            {"title": name, "text": f"{facts[0]} She sings."},
            {"title": "Bo", "text": f"He paints. {facts[1]}"},
        ],
        "golds": [str(1900 + number)],
        "evidence": facts,
        **changes,
    }


ANSWERS = {record(number)["question"]: record(number)["golds"][0] for number in range(200)}
GOOD = good_models(ANSWERS)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def settings(folder: Path, url: str, rows: list[dict[str, object]], **changes: object) -> Settings:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stage = {"base_url": url, "concurrency": 4, "timeout_seconds": 2, "max_retries": 2}
    values = {
        "sources": {"mine": {"format": "records", "path": str(path)}},
        "reasoner": {**stage, "model": "reasoner", "price": {"prompt": 1.0, "completion": 10.0}},
        "injector": {**stage, "model": "injector", "sampling": {"temperature": 0}},
        "output_dir": str(folder / "out"),
    }
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(values.get(key), dict) else value
    return parse_settings(values)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rejected(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["id"]: (row["stage"], row["reason"]) for row in lines(folder / "out/rejected.jsonl")}


def test_records_become_rows_that_earn_the_whole_reward(tmp_path: Path) -> None:
    with scripted(GOOD) as server:
        found = distill(settings(tmp_path, server.url, [record(n) for n in range(12)]))
    rows = lines(tmp_path / "out/rows.jsonl")
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(12)]
    assert rows[0]["prompt"][0]["role"] == "system"
    assert "Question: When was the brother of Ann" in rows[0]["prompt"][1]["content"]
    loaded = load_source({"format": "records", "path": str(tmp_path / "out/rows.jsonl")})
    for row in loaded.records():
        assert presets.care()(Sample.from_record(row)).total == pytest.approx(1.0)
        assert row["completion"].count("<retrieval>") == 2
        assert row["prompt"][0]["role"] == "system"
    assert (found.kept, found.facts, found.aligned, found.new) == (12, 24, 0, {"reasoner": 12, "injector": 12})
    spent = found.spent["reasoner"]
    assert spent.cost == pytest.approx((spent.prompt_tokens + 10 * spent.completion_tokens) / 1e6)
    assert spent.completion_tokens == 12 * len(
        ["I", "look", "it", "up", "and", "see", "who", "is", "meant.", "Answer:", "1900"]
    )
    assert found.spent["injector"].cost == 0


FACTS = record(0)["evidence"]
CASES = {
    # name: (reasoner's answer, injector's answer, stage, reason); None: the good one
    "wrong": (Say("Hm.\nAnswer: 1799"), None, "reasoner", "wrong answer"),
    "more than the answer": (Say("Hm.\nAnswer: 1900 or 1901"), None, "reasoner", "wrong answer"),
    "no answer": (Say("It was 1900."), None, "reasoner", "no answer"),
    "answer in an open draft": (Say("<think>Answer: 1900"), None, "reasoner", "no answer"),
    "answer only": (Say("Answer: 1900"), None, "reasoner", "no reasoning"),
    "cut off": (Say("Hm.\nAnswer: 1900", finish_reason="length"), None, "reasoner", "the reply was cut off"),
    "filtered": (Say("Hm.\nAnswer: 1900", finish_reason="content_filter"), None, "reasoner", "the reply was cut off"),
    "calls a tool": (
        Say("Hm.\nAnswer: 1900", finish_reason="tool_calls"),
        None,
        "reasoner",
        "the reply is not finished",
    ),
    "broke off": (Say("Hm.\nAnswer: 1900", finish_reason="error"), None, "reasoner", "the endpoint gave no answer"),
    "empty": (Say(None), None, "reasoner", "the reply is empty"),
    "refused": (Say("too long", status=400), None, "reasoner", "the endpoint refused the request"),
    "html": (Say(raw=b"<html>busy</html>"), None, "reasoner", "the endpoint gave no answer"),
    "half": (Say(raw=b'{"choices": [{"mess'), None, "reasoner", "the endpoint gave no answer"),
    "no choice": (Say(raw=b'{"choices": []}'), None, "reasoner", "the endpoint gave no answer"),
    "hangs up": (Say(hang_up=True), None, "reasoner", "the endpoint gave no answer"),
    "always 500": (Say("oh", status=500), None, "reasoner", "the endpoint gave no answer"),
    "one fact": (None, Say(f"See: {FACTS[0]}"), "injector", "a fact is missing"),
    "another year": (None, Say(f"{FACTS[0]} {FACTS[1].replace('1900', '1901')}"), "injector", "a fact is missing"),
    "negated": (
        None,
        Say(f"{FACTS[0]} {FACTS[1].replace('was born', 'was not born')}"),
        "injector",
        "a fact is missing",
    ),
    "another answer": (None, Say(f"See: {' '.join(FACTS)} So.\nAnswer: 1234"), "injector", "wrong answer"),
    "another answer in bold": (None, Say(f"See: {' '.join(FACTS)}\n**Final answer**: 12"), "injector", "wrong answer"),
    "an answer before the facts": (None, Say(f"Answer: 1900. {' '.join(FACTS)}"), "injector", "wrong answer"),
    "cut off injector": (None, Say(" ".join(FACTS), finish_reason="length"), "injector", "the reply was cut off"),
    "facts only": (None, Say(f"1. {FACTS[0]}\n2. {FACTS[1]}"), "injector", "no reasoning"),
    **{
        f"stray {stray!r}": (None, Say(f"I look{stray} it up. {' '.join(FACTS)}"), "injector", "not plain text")
        for stray in (
            "\0",
            "\x1b[1m",
            "</s>",
            "[INST]",
            "<|im_end|>",
            "<|im_<|im_end|>end|>",
            "< retrieval >",
            "[Retrieval]",
        )
    },
    "tags made of tags": (
        None,
        Say(f"Hm, <retr<retrieval>ieval>SHE SINGS</retr</retrieval>ieval>. {' '.join(FACTS)}"),
        "tagging",
        "the quotes are not the facts",
    ),
    "tags of its own": (None, Say(f"<think>{' '.join(FACTS)}"), "tagging", "not in the CARE format"),
}


@pytest.mark.parametrize(("reasoner", "injector", "stage", "reason"), CASES.values(), ids=CASES)
def test_what_is_rejected_and_why(tmp_path: Path, reasoner: Say, injector: Say, stage: str, reason: str) -> None:
    said = {"reasoner": reasoner, "injector": injector}

    def script(asked):
        first = question_of(asked) == record(0)["question"]
        return (said[asked["model"]] if first else None) or GOOD(asked)

    with scripted(script) as server:
        found = distill(settings(tmp_path, server.url, [record(0), record(1)]))
    assert rejected(tmp_path) == {"q0": (stage, reason)}
    assert [row["id"] for row in lines(tmp_path / "out/rows.jsonl")] == ["q1"]
    line = lines(tmp_path / "out/rejected.jsonl")[0]
    said_text = (reasoner or injector).text
    if said_text and stage != "tagging" and "endpoint" not in reason:
        assert line["text"] == said_text
    assert found.causes() == [(stage, reason, 1)]


ACCEPTED = {
    "a draft apart": (Say("Answer: 1900", message={"reasoning_content": "I look it up."}), None),
    "a draft in tags": (Say("<think>I look it up.</think>\n**Answer:** 1900."), None),
    "a fence and a draft": (None, Say(f"<think>Hm</think>```\nI see: {' '.join(FACTS)}\n```")),
    "a fence with words around": (None, Say(f"Sure!\n```text\nI see: {' '.join(FACTS)}\n```\nI hope this helps.")),
    "its own retrieval tags": (None, Say(f"So <retrieval>{FACTS[0]}</retrieval> {FACTS[1]}<|im_end|></s>")),
    "other case and spaces": (
        None,
        Say(f"First, {FACTS[0][0].lower()}{FACTS[0][1:]}  \n {FACTS[1].replace(' ', '  ')}"),
    ),
    "another word": (None, Say(f"{FACTS[0]} As we see, {FACTS[1].replace('was born in', 'was born during')}")),
}


def test_a_right_answer_behind_the_reasoning_is_cut_and_one_in_a_fact_stays(tmp_path: Path) -> None:
    fact = "Answer: Bo of Fenwick0 was born in the year 1900."
    row = record(0, evidence=[fact], context=[{"title": "Bo", "text": f"He paints. {fact}"}])
    # The `care` preset counts `Answer:` behind the think block only, so a fact may hold it.
    text = f"I read: {fact} So it is."
    with scripted(
        lambda asked: GOOD(asked) if asked["model"] == "reasoner" else Say(f"{text}\n\n**Answer:** 1900.")
    ) as server:
        distill(settings(tmp_path, server.url, [row]))
    (kept,) = lines(tmp_path / "out/rows.jsonl")
    assert kept["completion"] == f"<think>I read: <retrieval>{fact}</retrieval> So it is.</think> Answer: 1900"


@pytest.mark.parametrize(("reasoner", "injector"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_accepted_is_quoted_word_for_word(tmp_path: Path, reasoner: Say, injector: Say) -> None:
    said = {"reasoner": reasoner, "injector": injector}
    with scripted(lambda asked: said[asked["model"]] or GOOD(asked)) as server:
        distill(settings(tmp_path, server.url, [record(0)]))
    (row,) = lines(tmp_path / "out/rows.jsonl")
    assert all(f"<retrieval>{fact}</retrieval>" in row["completion"] for fact in FACTS)
    assert row["completion"].endswith("</think> Answer: 1900")
    assert not any(word in row["completion"] for word in ("```", "Sure", "helps", "im_end"))


def test_labels_that_no_answer_could_satisfy_cost_nothing(tmp_path: Path) -> None:
    rows = [
        record(0, evidence=[]),
        record(1, evidence=["Bo was born on the moon."]),
        record(2, evidence=["Bo wrote </think>."], context="Bo wrote </think>."),
        record(3),
        record(3, id="q3 again"),
    ]
    with scripted(GOOD) as server:
        distill(settings(tmp_path, server.url, rows))
        assert len(server.calls) == 2
    assert rejected(tmp_path) == {
        "q0": ("labels", "no labelled facts"),
        "q1": ("labels", "a labelled fact is not in the passages"),
        "q3 again": ("labels", "the question and its passages stand in an earlier record"),
        "q2": ("labels", "the row's own gold does not score 1.0"),
    }


def test_a_lower_bound_for_answers_takes_more_of_them_and_writes_the_gold(tmp_path: Path) -> None:
    def script(asked):
        return Say("Hm.\nAnswer: the year 1900") if asked["model"] == "reasoner" else GOOD(asked)

    with scripted(script) as server:
        distill(settings(tmp_path, server.url, [record(0)]))
        assert rejected(tmp_path) == {"q0": ("reasoner", "wrong answer")}
        found = distill(settings(tmp_path, server.url, [record(0)], min_answer_f1=0.6))
        assert found.new == {"reasoner": 0, "injector": 1}  # another filter asks nothing again
    assert lines(tmp_path / "out/rows.jsonl")[0]["completion"].endswith("Answer: 1900")


def test_a_fact_inside_another_needs_a_place_of_its_own(tmp_path: Path) -> None:
    whole = "Bo of Fenwick0 was born in the year 1900 in the old town of Kelmore."
    part = "Bo of Fenwick0 was born in the year 1900"
    row = record(0, evidence=[part, whole], context=[{"title": "Bo", "text": f"He paints. {whole}"}])
    said = {"once": whole, "twice": f"{whole} That is to say, {part}."}
    for name, text in said.items():
        folder = tmp_path / name
        folder.mkdir()
        with scripted(lambda asked, text=text: GOOD(asked) if asked["model"] == "reasoner" else Say(text)) as server:
            distill(settings(folder, server.url, [row]))
    assert rejected(tmp_path / "once") == {"q0": ("tagging", "a fact stands only inside another's tags")}
    (kept,) = lines(tmp_path / "twice/out/rows.jsonl")
    assert f"<retrieval>{whole}</retrieval> That is to say, <retrieval>{part}</retrieval>." in kept["completion"]


def test_busy_servers_are_asked_again_and_the_retries_counted(tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    troubles = [Say("slow down", status=429), Say("oh", status=503), Say(hang_up=True), Say(delay_seconds=1.0)]

    def script(asked):
        key = asked["model"] + question_of(asked)
        seen[key] = seen.get(key, 0) + 1
        return troubles[len(seen) % 4] if seen[key] == 1 else GOOD(asked)

    quick = {"timeout_seconds": 0.5}
    with scripted(script) as server:
        found = distill(settings(tmp_path, server.url, [record(n) for n in range(6)], reasoner=quick, injector=quick))
    assert found.kept == 6
    assert {stage: spent.retries for stage, spent in found.spent.items()} == {"reasoner": 6, "injector": 6}


def test_the_second_start_asks_nothing_but_what_had_no_answer(tmp_path: Path) -> None:
    refuse = [record(3)["question"]]

    def script(asked):
        return Say("too long", status=400) if question_of(asked) in refuse else GOOD(asked)

    with scripted(script) as server:
        config = settings(tmp_path, server.url, [record(n) for n in range(8)])
        assert distill(config).kept == 7
        files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        before = len(server.calls)
        assert distill(config).new == {"reasoner": 1, "injector": 0}
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != ".lock"} == {
            name: data for name, data in files.items() if name != ".lock"
        }
        refuse.clear()
        assert distill(config).kept == 8
        assert len(server.calls) == before + 3


def test_another_prompt_or_sampling_asks_again_and_no_other_stage(tmp_path: Path) -> None:
    with scripted(GOOD) as server:
        rows = [record(n) for n in range(3)]
        distill(settings(tmp_path, server.url, rows))
        found = distill(settings(tmp_path, server.url, rows, injector={"sampling": {"temperature": 0.5}}))
        assert found.new == {"reasoner": 0, "injector": 3}
        found = distill(settings(tmp_path, server.url, rows, reasoner={"instructions": "Think. End with Answer: ..."}))
        assert found.new == {"reasoner": 3, "injector": 0}  # the same reasoning, so the same second question


def test_a_key_that_is_not_accepted_ends_the_run_and_keeps_what_came(tmp_path: Path) -> None:
    def script(asked):
        return Say("no", status=401) if question_of(asked) == record(5)["question"] else GOOD(asked)

    with scripted(script) as server:
        config = settings(tmp_path, server.url, [record(n) for n in range(6)])
        with pytest.raises(EndpointError, match="401"):
            distill(config)
        answered = sum(call.said.status == 200 for call in server.calls)
        assert len(lines(tmp_path / "out/journal.jsonl")) == answered >= 5
        assert not (tmp_path / "out/rows.jsonl").exists()


def test_an_endpoint_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    with scripted(lambda asked: Say("no such setting", status=400)) as server:
        with pytest.raises(EndpointError, match="no such setting"):
            distill(settings(tmp_path, server.url, [record(n) for n in range(100)]))
        assert len(server.calls) < 40


def test_both_models_work_at_the_same_time_and_never_more_than_allowed(tmp_path: Path) -> None:
    times: dict[str, list[float]] = {"reasoner": [], "injector": []}

    def script(asked):
        times[asked["model"]].append(time.monotonic())
        return GOOD(asked)._replace(delay_seconds=0.02)

    with scripted(script) as server:
        distill(settings(tmp_path, server.url, [record(n) for n in range(100)]))
        assert server.most_at_once <= 8
    assert times["injector"][0] < times["reasoner"][-1]


def test_no_server_is_an_error_and_no_empty_result(tmp_path: Path) -> None:
    with scripted(GOOD) as server:
        url = server.url
    config = settings(tmp_path, url, [record(0)], reasoner={"max_retries": 0})
    with pytest.raises(EndpointError, match="is out of reach"):
        distill(config)
    assert not (tmp_path / "out/rows.jsonl").exists()


def test_drafts_of_a_killed_start_are_removed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    drafts = [tmp_path / "out" / name for name in (".rows.jsonl.123.part", ".report.json.123")]
    for draft in drafts:
        draft.write_text("half")
    others = tmp_path / "out/.bashrc.old"
    others.write_text("mine")
    with scripted(GOOD) as server:
        assert distill(settings(tmp_path, server.url, [record(0)])).kept == 1
    assert others.exists()
    assert not any(draft.exists() for draft in drafts)
    assert (tmp_path / "out/.lock").exists()


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("injector", {"key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY .* is not set"),
        ("reasoner", {"key_variable": "NO_SUCH_KEY"}, "NO_SUCH_KEY .* is not set"),
        ("injector", {"sampling": {"temprature": 0}}, "sampling: temprature: .*Did you mean 'temperature'"),
    ],
)
def test_what_only_a_request_would_tell_is_told_before_one_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, change: dict[str, object], message: str
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with scripted(GOOD) as server:
        wrong = settings(tmp_path, server.url, [record(0)], **{stage: change})
        (tmp_path / "records.jsonl").write_text("no JSON\n")  # nor is anything loaded
        with pytest.raises(ConfigError, match=f"^{stage}: .*{message}"):
            distill(wrong)
        assert not server.calls
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_stays_untouched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("method: grpo\n")
    with scripted(GOOD) as server:
        with pytest.raises(RunError, match=r"holds files but no journal\.jsonl"):
            distill(settings(tmp_path, server.url, [record(0)]))
        assert not server.calls
    assert (tmp_path / "out/config.yaml").read_text() == "method: grpo\n"


def test_the_command_tells_what_came_out_and_what_had_no_answer(tmp_path: Path, capsys) -> None:
    def script(asked):
        return Say("too long", status=400) if question_of(asked) == record(1)["question"] else GOOD(asked)

    with scripted(script) as server:
        config = tmp_path / "run.yaml"
        config.write_text(
            json.dumps(settings(tmp_path, server.url, [record(0), record(1)]).to_dict()), encoding="utf-8"
        )
        assert cli.main(["distill", str(config)]) == 1
        said = capsys.readouterr().out
        assert "the endpoint refused the request" in said
        assert "1 records got no answer; the same command asks them again" in said
        assert cli.main(["distill", str(config), "sources.mine.limit=1"]) == 0
        assert "answers that this start asked for: 0 of the reasoner, 0 of the injector" in capsys.readouterr().out


def test_a_folder_in_which_another_process_works_is_refused(tmp_path: Path) -> None:
    with scripted(GOOD) as server:
        config = settings(tmp_path, server.url, [record(0)])
        (tmp_path / "out").mkdir()
        code = f"import fcntl, time; f = open({str(tmp_path / 'out/.lock')!r}, 'a'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
        holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        try:
            holder.stdout.readline()
            with pytest.raises(RunError, match="is working in this folder"):
                distill(config)
        finally:
            holder.kill()
            holder.communicate()
        assert distill(config).kept == 1


def test_rows_of_another_task_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    row = {"question": "When?", "golds": "A", "sessions": [{"id": "s1", "utterances": [{"text": "Hi"}]}]}
    with scripted(GOOD) as server:
        with pytest.raises(DataError, match="memory_t1"):
            distill(settings(tmp_path, server.url, [record(0), row]))
        assert not server.calls


def test_a_source_in_the_output_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with scripted(GOOD) as server:
        made = settings(tmp_path, server.url, [record(0)])
        distill(made)
        before = (tmp_path / "out/rows.jsonl").read_bytes()
        for path in (
            tmp_path / "out/rows.jsonl",
            tmp_path / "out/../out/*.jsonl",
            tmp_path / "o*/rows.jsonl",
            tmp_path / "out",
        ):
            own = replace(made, sources={"own": {"format": "records", "path": str(path)}})
            with pytest.raises(ConfigError, match=r"sources\.own\.path: .* lies in output_dir"):
                distill(own)
        assert len(server.calls) == 2
    assert (tmp_path / "out/rows.jsonl").read_bytes() == before


def test_report_and_preview(tmp_path: Path) -> None:
    nasty = "`````\n# Heading\n<script>alert(1)</script> | a \\| b"
    rows = [record(n) for n in range(41)]

    def script(asked):
        if asked["model"] == "injector" and question_of(asked) == rows[0]["question"]:
            return Say(f"{nasty} {' '.join(FACTS)} {'so ' * SHOWN}end")
        return GOOD(asked)

    with scripted(script) as server:
        found = distill(settings(tmp_path, server.url, rows))
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report == json.loads(json.dumps(found.to_dict()))
    assert (report["records"], report["kept"]) == ({"mine": 41}, {"mine": 41})
    share = report["statistics"]["quoted share of reasoning"]
    assert 0 < share["least"] < 0.01 < 0.5 < share["median"] <= share["p95"] <= share["greatest"] < 1
    assert report["statistics"]["quotes"]["mean"] == 2
    shown = (tmp_path / "out/preview.md").read_text(encoding="utf-8")
    assert shown.startswith("# 30 of 41 rows")
    assert shown.count("## Line ") == 30
    fence = "`" * 6
    block = shown[shown.index(f"{fence}text\n<think>`````\n# Heading\n<script>") :].split(f"\n{fence}\n")[0]
    assert "`````" in block
    assert block.endswith("more characters in rows.jsonl]")
    assert SHOWN < len(block) < SHOWN + 100
    assert "| kept |  | 41 | 100.0 % |" in (tmp_path / "out/report.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data are not at {SHARED}")
@pytest.mark.parametrize(
    ("layout", "file"), [("hotpotqa", "hotpotqa_distractor.json"), ("musique", "musique_ans.jsonl")]
)
def test_real_records(tmp_path: Path, layout: str, file: str) -> None:
    source = {"format": layout, "path": str(SHARED / file)}
    records = list(load_source(source).records())
    answers = {row["question"]: row["golds"][0] for row in records}
    with scripted(good_models(answers)) as server:
        config = settings(tmp_path, server.url, [record(0)], sources={"mine": source})
        found = distill(config)
    total = sum(found.records.values())
    assert total == len(records) == found.kept + sum(found.rejected_rows.values())
    assert found.kept >= 0.9 * total
    for row in lines(tmp_path / "out/rows.jsonl"):
        sample = Sample.from_record(row)
        assert presets.care()(sample).total == pytest.approx(1.0)
        assert all(any(span in passage.text for passage in sample.context) for span in sample.care.spans)


def test_2wikimultihopqa_as_it_is_published(tmp_path: Path) -> None:
    row = {
        "_id": "w1",
        "type": "compositional",
        "question": "Where was the director of Red Dust born?",
        "answer": "Kelmore",
        "context": [["Red Dust", ["Red Dust is a film.", "It was directed by Ann Lee."]], ["Ann Lee", ["Ann Lee was born in Kelmore."]]],
        "supporting_facts": [["Red Dust", 1], ["Ann Lee", 0]],
        "evidences": [["Red Dust", "director", "Ann Lee"]],
    }  # fmt: skip
    path = tmp_path / "2wiki.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    with scripted(good_models({row["question"]: "Kelmore"})) as server:
        source = {"mine": {"format": "2wikimultihopqa", "path": str(path)}}
        found = distill(settings(tmp_path, server.url, [], sources=source))
    assert (found.kept, found.facts) == (1, 2)
    (made,) = lines(tmp_path / "out/rows.jsonl")
    assert "<retrieval>It was directed by Ann Lee.</retrieval>" in made["completion"]
