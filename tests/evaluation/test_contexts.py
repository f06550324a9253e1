"""Context policies: what each shows, LongBench's cut to the token, labels kept whole, everything that went counted."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.layout import Report
from rlkit.data.load import load_source
from rlkit.errors import ConfigError
from rlkit.evaluation.contexts import POLICIES, Policy, cut_middle, pieces, show
from rlkit.evaluation.prompt import Prompt
from rlkit.memory.candidates import Candidates
from rlkit.memory.prompt import session_text

PASSAGES = [
    {"title": "Bath", "text": "Bath is a city. It has hot springs."},
    {"title": "Emma", "text": "Emma is a novel by Jane Austen. It appeared in 1815."},
    {"title": "Jane Austen", "text": "Jane Austen was a novelist. She was born in England. She wrote six novels."},
    {"title": "Rain", "text": "Rain falls in England."},
]
ROW: dict[str, Any] = {
    "id": "q1",
    "task": "care",
    "kind": "text",
    "question": "Where was the writer of Emma born?",
    "context": PASSAGES,
    "golds": ["England"],
    "evidence": ["She was born in England.", "Emma is a novel by Jane Austen."],
}


def talk(name: str, date: str, text: str) -> dict[str, Any]:
    return {"id": name, "date": date, "utterances": [{"speaker": "Ann", "text": text, "time": None, "events": []}]}


MEMORY: dict[str, Any] = {
    "id": "m1",
    "task": "memory_t1",
    "kind": "text",
    "question": "Which place did Ann visit on 2024-03-05?",
    "context": [],
    "golds": ["Rome"],
    "evidence": ["session_2"],
    "time_range": ["2024-03-05", "2024-03-05"],
    "sessions": [
        talk("session_1", "2024-01-05", "I visited Oslo, a place to visit."),
        talk("session_2", "2024-03-06", "Yesterday I visited Rome."),
        talk("session_3", "2024-03-09", "It rains."),
    ],
}


class Letters:
    """A tokenizer with one token a character and a special token 0 in front."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [0] * add_special_tokens + [ord(letter) for letter in text]

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(chr(token) for token in token_ids if token or not skip_special_tokens)


def applied(spec: Any, row: dict[str, Any] = ROW, tokens: Any = len) -> tuple[Any, Report]:
    report = Report()
    before = copy.deepcopy(row)
    record = Policy.from_config(spec).apply(row, report, tokens)  # type: ignore[arg-type]
    assert row == before
    return record, report


def titles(record: Any) -> list[str]:
    return [passage["title"] for passage in record["context"]]


def names(record: Any) -> list[str]:
    return [session["id"] for session in record["sessions"]]


# which context


@pytest.mark.parametrize("row", [ROW, MEMORY])
def test_full_and_middle_show_all(row):
    assert applied("full", row)[0] == row
    assert applied({"policy": "middle", "max_tokens": 10}, row)[0] == row


def test_none_shows_the_question_alone():
    for row, own in ((ROW, "context"), (MEMORY, "sessions")):
        record, _ = applied("none", row)
        assert record == {**row, own: []}


def test_bm25_shows_the_best_passages_in_the_order_of_the_text_and_keeps_the_labels():
    record, report = applied({"policy": "bm25", "top_k": 2})
    assert record == {**ROW, "context": [PASSAGES[1], PASSAGES[2]]}
    assert list(report.noted) == ["passages left out by `bm25`"]
    record, report = applied({"policy": "bm25", "top_k": 1})
    assert titles(record) == ["Jane Austen"]
    assert record["evidence"] == ROW["evidence"]
    assert report.noted["evidence lost to `bm25`"].examples == ["q1"]
    assert applied({"policy": "bm25", "top_k": None})[0] == ROW


def test_bm25_reads_titles():
    row = {**ROW, "question": "What is Bath?", "evidence": []}
    row["context"] = [{"title": "Rome", "text": "A city."}, {"title": "Bath", "text": "A city."}]
    assert titles(applied({"policy": "bm25", "top_k": 1}, row)[0]) == ["Bath"]


def test_bm25_fills_a_budget_with_whole_passages_and_skips_one_that_is_too_long():
    budget = sum(len(f"{passage['title']}\n{passage['text']}\n\n") for passage in PASSAGES[2:])
    record, _ = applied({"policy": "bm25", "top_k": None, "budget_tokens": budget})
    assert titles(record) == ["Jane Austen", "Rain"]
    record, _ = applied({"policy": "bm25", "top_k": None, "budget_tokens": budget - 1})
    assert titles(record) == ["Jane Austen"]


def test_bm25_splits_long_passages_at_sentences():
    record, _ = applied({"policy": "bm25", "top_k": 2, "passage_words": 6})
    assert [passage["text"] for passage in record["context"]] == [
        "Emma is a novel by Jane Austen.",
        "She was born in England.",
    ]


def test_bm25_over_a_memory_is_the_candidates_without_a_time_range():
    record, _ = applied({"policy": "bm25", "top_k": 2}, MEMORY)
    expected, _ = Candidates(top_k=2, budget_tokens=None, time_range="none").apply(MEMORY, None)
    assert names(record) == names(expected) == ["session_1", "session_2"]


def test_time_bm25_searches_the_time_range_first_and_keeps_the_labels():
    record, report = applied({"policy": "time_bm25", "top_k": 1}, MEMORY)
    assert names(record) == ["session_2"]
    assert not report.noted
    lost = {**MEMORY, "evidence": ["session_2", "session_3"]}
    record, report = applied({"policy": "time_bm25", "top_k": 1, "time_range": "annotated", "margin_days": 1}, lost)
    assert (names(record), record["evidence"]) == (["session_2"], ["session_2", "session_3"])
    assert "evidence_lost" not in record
    assert list(report.noted) == ["a gold session lost to memory.time_range"]


def test_time_bm25_does_not_apply_to_passages():
    record, report = applied("time_bm25")
    assert record is None
    assert report.dropped["a row without sessions has no times to search by"].examples == ["q1"]


def test_oracle_shows_the_labelled_facts_of_each_passage_in_the_order_of_its_text():
    row = {**ROW, "evidence": ["She wrote  six novels.", *ROW["evidence"]]}
    record, report = applied("oracle", row)
    assert record["context"] == [
        {"title": "Emma", "text": "Emma is a novel by Jane Austen."},
        {"title": "Jane Austen", "text": "She was born in England. She wrote  six novels."},
    ]
    assert not report.noted


def test_oracle_shows_a_fact_that_is_in_no_passage():
    record, report = applied("oracle", {**ROW, "evidence": ["Emma was written in Chawton."]})
    assert record["context"] == [{"title": "", "text": "Emma was written in Chawton."}]
    assert list(report.noted) == ["evidence is in no passage, so it is shown as one"]


def test_oracle_of_a_memory_shows_its_gold_sessions():
    record, report = applied("oracle", {**MEMORY, "evidence": ["<session_2>", "session_9"]})
    assert names(record) == ["session_2"]
    assert list(report.noted) == ["a gold session is not in the memory"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**ROW, "evidence": []}, "no evidence is labelled"),
        ({**MEMORY, "evidence": []}, "no evidence is labelled"),
        ({**MEMORY, "evidence": ["session_9"]}, "no gold session is in the memory"),
    ],
)
def test_oracle_without_labels_does_not_apply(row, reason):
    record, report = applied("oracle", row)
    assert record is None
    assert report.dropped[reason].examples == [row["id"]]


def test_a_prompt_of_the_rows_own_can_only_be_shown():
    row = {**ROW, "prompt": [{"role": "user", "content": "Who wrote Emma?"}]}
    assert applied("full", row)[0] == row
    for name in ("bm25", "oracle", "none"):
        record, report = applied(name, row)
        assert record is None
        assert report.read == 1


def test_a_prompt_of_the_dialogue_world_is_made_anew():
    from rlkit.data.dialogues import generate

    row = next(generate("hard", rows=1, seed=3))
    record, _ = applied("oracle", row)
    (line, blank, asked) = record["prompt"][0]["content"].split("\n")
    assert f"({row['evidence'][0]})" in line
    assert (blank, asked) == ("", f"Question: {row['question']}")
    record, _ = applied({"policy": "bm25", "top_k": 2}, row)
    assert record["prompt"][0]["content"].count(" I visited ") == 2
    assert applied("full", row)[0] == row


# the cut


def longbench(text: str, max_length: int, tokenizer: Letters) -> str:
    """The rule as LongBench's pred.py has it."""
    tokenized = tokenizer.encode(text)
    if len(tokenized) > max_length:
        half = int(max_length / 2)
        return tokenizer.decode(tokenized[:half], skip_special_tokens=True) + tokenizer.decode(
            tokenized[-half:], skip_special_tokens=True
        )
    return text


@given(st.text(alphabet="abcdefgh \n", max_size=40), st.integers(2, 45))
@settings(deadline=None, max_examples=200)
def test_the_middle_is_cut_as_longbench_cuts_it(text, max_tokens):
    policy = Policy("middle", max_tokens=max_tokens)
    (message,) = policy.cut([{"role": "user", "content": text}], Letters())
    assert message["content"] == longbench(text, max_tokens, Letters())


def test_one_token_too_many_and_an_odd_limit():
    cut = Policy("middle", max_tokens=7).cut(
        [{"role": "user", "content": "abcdefg"}], Letters()
    )  # 8 with the special token
    assert cut[0]["content"] == "abefg"
    same = [{"role": "user", "content": "abcdef"}]
    assert Policy("middle", max_tokens=7).cut(same, Letters()) == same
    assert cut_middle([97, 98, 99, 100], 2, Letters()) == "ad"


def test_a_real_tokenizer_is_cut_as_longbench_cuts_it():
    from rlkit.quickstart.tokenizer import word_tokenizer

    tokenizer = word_tokenizer([passage["text"] for passage in PASSAGES] * 3)
    text = " ".join(passage["text"] for passage in PASSAGES)
    for max_tokens in (8, 15, 20):
        (message,) = Policy("middle", max_tokens=max_tokens).cut([{"role": "user", "content": text}], tokenizer)
        ids = tokenizer(text, truncation=False)["input_ids"]
        half = int(max_tokens / 2)
        assert message["content"] == tokenizer.decode(ids[:half], skip_special_tokens=True) + tokenizer.decode(
            ids[-half:], skip_special_tokens=True
        )
        assert len(ids) > max_tokens


# all of it together


def test_show_cuts_the_question_and_leaves_instructions_alone():
    report = Report()
    shown = show(ROW, Policy("full", max_tokens=60), Prompt(), "test", Letters(), report)  # type: ignore[arg-type]
    assert shown.messages[0] == Prompt().messages(ROW)[0]
    whole = Prompt().messages(ROW)[1]["content"]
    assert shown.messages[1]["content"] == whole[:29] + whole[-30:]
    assert shown.record == ROW
    assert (report.kept, list(report.noted)) == (1, ["cut in the middle to max_tokens"])


def test_evidence_is_never_cut():
    report = Report()
    policy = Policy("oracle", max_tokens=20)
    assert show(ROW, policy, Prompt(), "test", Letters(), report) is None  # type: ignore[arg-type]
    assert report.dropped["its evidence alone is over max_tokens"].examples == ["q1"]
    messages = [{"role": "user", "content": "a" * 100}]
    assert policy.cut(messages, Letters()) == messages


def test_show_tells_what_became_of_the_rows():
    report = Report()
    for row in (ROW, {**ROW, "id": "q2", "evidence": []}):
        show(row, Policy("oracle"), Prompt(), "test", None, report)  # type: ignore[arg-type]
    assert str(report) == "read 2, kept 1\n  dropped 1: no evidence is labelled (q2)"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fulll", r"context\.policy: 'fulll' is unknown; there are full, middle, .*Did you mean 'full'\?"),
        ({"policy": "full", "top_k": 3}, r"context\.top_k: no such key for full; there are policy, max_tokens\."),
        ({"policy": "bm25", "top_k": 0}, r"context\.top_k: 0 must be a whole number of at least 1, or null\."),
        ({"policy": "full", "max_tokens": 1}, r"context\.max_tokens: 1 must be a whole number of at least 2"),
        ({"policy": "full", "max_tokens": True}, r"context\.max_tokens: True must be"),
        ("middle", r"context\.max_tokens: missing; `middle` needs"),
        ({"policy": "time_bm25", "time_range": "rule"}, r"context\.time_range: is 'rule', but must be .*'rules'"),
        ({"max_tokens": 4}, r"context\.policy: None is unknown"),
    ],
)
def test_wrong_entries_are_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        Policy.from_config(spec)


@pytest.mark.parametrize("spec", [{"policy": "bm25", "budget_tokens": 9}, {"policy": "full", "max_tokens": 9}])
@pytest.mark.parametrize("row", [ROW, MEMORY])
def test_counting_needs_a_tokenizer(spec, row):
    with pytest.raises(ConfigError, match=r"^context\.[a-z_]+: is 9, but there is no tokenizer to count with"):
        show(row, Policy.from_config(spec), Prompt(), "test", None, Report())


def test_every_policy_has_a_default_form():
    assert [Policy.from_config({"policy": name, "max_tokens": 9}).policy for name in POLICIES] == list(POLICIES)
    assert Policy.from_config(None) == Policy.from_config("full") == Policy()


@given(st.text(alphabet="ab. \n!", max_size=60), st.integers(1, 6))
@settings(deadline=None, max_examples=200)
def test_pieces_hold_every_word_once_in_order(text, max_words):
    made = [piece["text"] for piece in pieces({"title": "t", "text": text}, max_words)]
    assert " ".join(made).split() == text.split()
    assert made


# prompts


def test_a_template_is_filled_once_and_braces_in_texts_stay():
    row = {**ROW, "context": [{"title": "", "text": "{question} {x}"}], "question": "{context}?"}
    prompt = Prompt.from_config({"system": None, "user": 'JSON {"a": 1}\n{context}\nQ: {question}'})
    assert prompt.messages(row) == [{"role": "user", "content": 'JSON {"a": 1}\n{question} {x}\nQ: {context}?'}]


def test_templates_by_subset():
    prompt = Prompt.from_config({"system": "Be brief.", "user": {"a": "A {question}", "b": "B {question}"}})
    assert [message["content"] for message in prompt.messages(ROW, "b")] == ["Be brief.", f"B {ROW['question']}"]
    with pytest.raises(ConfigError, match=r"prompt\.user: has no template for 'c'; there are a, b\."):
        prompt.messages(ROW, "c")


def test_a_template_shows_the_sessions_of_a_memory():
    prompt = Prompt(system=None, user="{context}|{question}")
    sessions = "\n\n".join(session_text(session) for session in MEMORY["sessions"])
    assert prompt.messages(MEMORY)[0]["content"] == f"{sessions}|{MEMORY['question']}"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"usr": "x"}, r"prompt\.usr: no such key; there are system, user\. Did you mean 'user'\?"),
        ({"user": "{question} {input}"}, r"prompt\.user: \{input\} is no place to fill"),
        ({"user": {"a": "{contxt} {question}"}}, r"prompt\.user\.a: \{contxt\} .* Did you mean 'context'\?"),
        ({"user": "What is it?"}, r"prompt\.user: without \{question\} nothing is asked"),
        ({"system": 3}, r"prompt\.system: is 3, but must be text or null"),
        ("care", r"prompt: is 'care', but must be a mapping"),
    ],
)
def test_wrong_prompts_are_named(section, message):
    with pytest.raises(ConfigError, match=message):
        Prompt.from_config(section)


# real data


@pytest.fixture(scope="module")
def slices() -> Path:
    folder = Path(__file__).resolve().parents[2] / "../shared/data"
    if not folder.is_dir():
        pytest.skip(f"the slices of real data are not there ({folder})")
    return folder


@pytest.mark.parametrize(
    ("format", "file"), [("hotpotqa", "hotpotqa_distractor.json"), ("musique", "musique_ans.jsonl")]
)
def test_real_questions_under_every_policy(slices, tmp_path, format, file):
    loaded = load_source({"format": format, "path": str(slices / file)}, cache_dir=tmp_path)
    recalled = labelled = 0
    for record in loaded.records():
        oracle = Policy("oracle").apply(record, Report())
        shown = [passage["text"] for passage in oracle["context"]]
        assert sorted(" ".join(" ".join(shown).split())) == sorted(" ".join(" ".join(record["evidence"]).split()))
        found = Policy("bm25", top_k=5).apply(record, Report())
        assert len(found["context"]) == min(5, len(record["context"]))
        assert [passage for passage in record["context"] if passage in found["context"]] == found["context"]
        texts = [passage["text"] for passage in found["context"]]
        recalled += sum(any(fact in text for text in texts) for fact in record["evidence"])
        labelled += len(record["evidence"])
    assert recalled / labelled > 0.5  # half of the facts in a half (HotpotQA) or a quarter (MuSiQue) of the passages


def test_real_memories_find_most_gold_sessions(slices, tmp_path):
    loaded = load_source({"format": "locomo", "path": str(slices / "locomo.json"), "limit": 150}, cache_dir=tmp_path)
    hits = labelled = 0
    for record in loaded.records():
        found = Policy("time_bm25", top_k=10).apply(record, Report())
        assert found["evidence"] == record["evidence"]
        hits += len({session["id"] for session in found["sessions"]} & set(record["evidence"]))
        labelled += len(set(record["evidence"]))
    assert hits / labelled > 0.6


def test_the_released_time_dialog_questions_have_no_oracle(slices, tmp_path):
    loaded = load_source(
        {"format": "time_dialog", "path": str(slices / "time_dialog_outputs.jsonl")}, cache_dir=tmp_path
    )
    report = Report()
    for record in loaded.records():
        assert show(record, Policy("oracle"), Prompt(), "x", None, report) is None
    assert report.dropped["no evidence is labelled"].rows == len(loaded.rows)


def test_the_same_row_gives_the_same_messages():
    for name in POLICIES:
        policy = Policy.from_config({"policy": name, "max_tokens": 1000})
        once, twice = (show(ROW, policy, Prompt(), "t", Letters(), Report()) for _ in range(2))  # type: ignore[arg-type]
        assert json.dumps(once and once.messages) == json.dumps(twice and twice.messages)
