"""Pairs for context fidelity: one world, one question, one sentence changed, and no way to answer but by reading."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice

import pytest

from rewards import Sample, presets
from rlkit.data.facts import LINK, Fact, split_of
from rlkit.data.fidelity import VERSIONS, from_source, generate, make_world
from rlkit.data.load import load_source
from rlkit.data.synthetic import LEVELS
from rlkit.errors import ConfigError


def facts(record):
    return [Fact(*passage["text"].rstrip(".").split()) for passage in record["context"]]


def pairs_of(rows):
    rows = list(rows)
    return list(zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_versions_of_a_pair_differ_in_the_answering_sentence_alone(level, split):
    world = make_world(2)
    for fact, change in pairs_of(generate(level, pairs=40, seed=1, world=2, split=split)):
        assert (fact["version"], change["version"]) == VERSIONS
        assert fact["pair"] == change["pair"]
        assert fact["question"] == change["question"]
        assert fact["prior_answer"] == change["prior_answer"] == fact["golds"][0] != change["golds"][0]
        differing = [(a, b) for a, b in zip(facts(fact), facts(change), strict=True) if a != b]
        (true, false) = differing[0]
        assert len(differing) == 1
        assert true[:2] == false[:2]
        assert (true.value, false.value) == (fact["golds"][0], change["golds"][0])
        assert all(world.values[told[:2]] == told.value for told in facts(fact))
        assert str(false) == change["evidence"][-1]
        for row in (fact, change):
            assert split_of(map(str, facts(row))) == split


@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_follows_from_name_and_relation_and_stands_once(level):
    for record in generate(level, pairs=60, seed=4):
        told = facts(record)
        assert len({fact[:2] for fact in told}) == len(told) in LEVELS[level]["facts"]
        assert len({fact.value for fact in told}) == len(told)
        *links, last = (Fact(*sentence.rstrip(".").split()) for sentence in record["evidence"])
        assert [link.value for link in links] == [fact.subject for fact in [*links, last]][1:]
        assert record["golds"] == [last.value]
        assert record["question"].startswith("Which place has ")
        assert record["question"].count(LINK) == len(links) == record["hops"] - 1
        assert any(fact.subject == last.subject and fact.relation not in (last.relation, LINK) for fact in told)
        assert any(fact.subject != last.subject and fact.relation == last.relation for fact in told)
        for link in links:
            assert any(fact.relation == LINK and fact != link for fact in told)


def test_a_world_is_fixed_and_worlds_differ():
    assert make_world(0) == make_world(0)
    assert make_world(0).values != make_world(1).values
    one, other = (
        {str(fact) for row in generate(pairs=30, seed=seed) for fact in facts(row) if row["version"] == "factual"}
        for seed in (1, 2)
    )
    assert one & other  # the same facts come again, so that they can be learnt


def test_one_version_alone_and_demonstrations():
    rows = list(generate(pairs=5, version="factual", demonstrations=True))
    assert [row["version"] for row in rows] == ["factual"] * 5
    score = presets.care()(Sample.from_record(rows[0]))
    assert score.total == score.maximum == 1.0


def test_rows_do_not_depend_on_their_number_or_process():
    rows = list(generate(pairs=3, seed=7))
    assert list(islice(generate(pairs=9, seed=7), 6)) == rows
    code = "import json; from rlkit.data.fidelity import generate; print(json.dumps(list(generate(pairs=3, seed=7))))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == rows


def test_a_source_like_the_others(tmp_path):
    spec = {"format": "synthetic_fidelity", "level": "easy", "pairs": 20, "split": "test"}
    loaded = load_source(spec, cache_dir=tmp_path)
    assert list(loaded.records()) == list(generate("easy", 20, split="test"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"level": "hrad"}, r"s\.level: 'hrad' is unknown; there are easy, hard, long\. Did you mean 'hard'\?"),
        ({"split": "dev"}, r"s\.split: 'dev' is unknown; there are train, test\."),
        ({"pairs": 0}, r"s\.pairs: 0 is not a whole number of at least 1\."),
        ({"world": True}, r"s\.world: True is not a whole number"),
        ({"demonstrations": 1}, r"s\.demonstrations: 1 is not true or false\."),
        ({"pair": 3}, r"s\.pair: no such key; there are level, pairs, .*Did you mean 'pairs'\?"),
    ],
)
def test_wrong_options_are_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        list(from_source({"format": "synthetic_fidelity", **spec}, "s"))
