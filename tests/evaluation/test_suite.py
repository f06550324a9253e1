"""The file of a suite: its keys and their rules, and how a config changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit.errors import ConfigError
from rlkit.evaluation.contexts import Policy
from rlkit.evaluation.suite import load_suite, parse_suite, suite_names

MINE = {"title": "Mine", "data": {"one": {"format": "records", "path": "x.jsonl"}}, "metrics": ["f1", "em"]}


def test_defaults_stand_in_one_place() -> None:
    suite = parse_suite(MINE, "mine")
    assert (suite.name, suite.task, suite.headline, suite.context, suite.max_new_tokens) == (
        "mine",
        "care",
        "f1",
        "full",
        1024,
    )
    assert dict(suite.contexts) == {"full": Policy("full")}
    assert suite.table.overall == "example"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrix": []}, "m.yaml: metrix: no such key; .*Did you mean 'metrics'"),
        ({"title": None}, "m.yaml: title: missing"),
        ({"data": {}}, "m.yaml: data: missing"),
        ({"data": {"one": {"path": "x"}}}, "m.yaml: data.one: .*needs a format"),
        ({"metrics": ["grouding"]}, "m.yaml: metrics: 'grouding' is unknown.*Did you mean 'grounding'"),
        ({"metrics": ["f1", "f1"]}, "each once"),
        ({"metrics": "f1"}, "must be a list"),
        ({"headline": "emm"}, "headline: 'emm' is none of its metrics.*Did you mean 'em'"),
        ({"task": "memory"}, "task: is 'memory', but must be one of care, memory_t1"),
        ({"max_new_tokens": 0}, "max_new_tokens: is 0"),
        ({"context": "bm25"}, "context: 'bm25' is none of its contexts, full"),
        ({"contexts": {"bm52": None}}, r"contexts.bm52.policy: 'bm52' is unknown.*Did you mean 'bm25'"),
        ({"contexts": {"bm25": {"topk": 3}}}, "contexts.bm25.topk: no such key"),
        ({"contexts": {"wide": {"policy": "bm25", "top_k": 0}}}, "contexts.wide.top_k"),
        ({"strict": "yes"}, "strict: is 'yes', but must be true or false"),
        ({"table": {"overal": "macro"}}, r"table.overal: no such key.*Did you mean 'overall'"),
        ({"table": {"overall": "mean"}}, "table.overall: is 'mean'"),
        ({"table": {"groups": {"A": "one"}}}, "table.groups.A"),
        ({"table": {"published": "locom"}}, r"table.published: there is no table 'locom'.*Did you mean 'locomo'"),
        ({"prompt": {"user": "no place"}}, "prompt.user: without .question. nothing is asked"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump({**MINE, **change}))
    with pytest.raises(ConfigError, match=message):
        load_suite(str(path))


def test_an_unknown_suite_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"--suite: there is no suite 'hotpot_qa'. Did you mean 'hotpotqa'\? Suites: .*locomo"
    ):
        load_suite("hotpot_qa")


def test_a_config_changes_a_suite_key_by_key() -> None:
    data = {"hotpotqa": {"path": "dev.json"}}
    suite = load_suite("hotpotqa", {"data": data, "max_new_tokens": 64, "contexts": {"bm25": {"top_k": 5}}})
    assert dict(suite.data["hotpotqa"]) == {
        "format": "hotpotqa",
        "path": "dev.json",
    }  # subset and split were of the hub's
    assert suite.max_new_tokens == 64
    assert suite.contexts["bm25"].top_k == 5
    assert set(suite.contexts) == set(load_suite("hotpotqa").contexts)
    assert load_suite("longbench", {"data": {"musique": None}}).data.keys() == load_suite("longbench").data.keys() - {
        "musique"
    }


def test_a_new_path_forgets_the_further_files_of_the_old_place() -> None:
    suite = load_suite("time_dialog", {"data": {"time_dialog": {"path": "mine.jsonl"}}})
    assert dict(suite.data["time_dialog"]) == {"format": "time_dialog", "path": "mine.jsonl"}
    suite = load_suite("time_dialog", {"data": {"time_dialog": {"path": "mine.jsonl", "contexts": "c.json"}}})
    assert suite.data["time_dialog"]["contexts"] == "c.json"
    suite = load_suite("longbench_evidence", {"data": {"hotpotqa": {"path": "mine.jsonl"}}})
    assert suite.data["hotpotqa"]["facts"] == "hotpot_dev_distractor_v1.json"  # without them nothing is labelled


def test_a_complaint_about_a_change_names_the_place_of_the_change() -> None:
    with pytest.raises(ConfigError, match=r"^suites.hotpotqa: metrix: no such key"):
        load_suite("hotpotqa", {"metrix": []}, "suites.hotpotqa")


def test_policies_that_a_suite_does_not_list_can_be_asked_for() -> None:
    suite = parse_suite({**MINE, "contexts": {"full": None, "wide": {"policy": "bm25", "top_k": 9}}}, "mine")
    assert suite.policy("wide").top_k == 9
    assert suite.policy("oracle") == Policy("oracle")
    with pytest.raises(ConfigError, match=r"context 'orcale' is unknown to suite mine; .*Did you mean 'oracle'"):
        suite.policy("orcale")


def test_every_shipped_suite_begins_with_the_command_that_runs_it() -> None:
    for name in suite_names():
        path = Path(__file__).resolve().parents[2] / "rlkit/evaluation/suites" / f"{name}.yaml"
        assert path.read_text(encoding="utf-8").startswith("# rlkit evaluate"), name
