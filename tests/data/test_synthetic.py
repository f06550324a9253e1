"""The synthetic world asks only what its context answers, and only matching name and relation answers it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rewards import Sample, fact_coverage, presets
from rlkit.data.facts import IDLE, LINK, OTHERWISE, PLACES, RUMOUR, TYPICAL, fingerprint, split_of
from rlkit.data.synthetic import LEVELS, MAX_FACTS, from_source, generate
from rlkit.errors import ConfigError


def sentences(record):
    return [sentence + "." for passage in record["context"] for sentence in passage["text"].rstrip(".").split(". ")]


def triples(record):
    return [tuple(sentence[:-1].split()) for sentence in sentences(record)]


@pytest.mark.parametrize("options", [{"level": "easy"}, {"level": "hard"}, {"level": "long"}, {"hops": 3, "facts": 9}])
@pytest.mark.parametrize("counterfactual", [False, True])
def test_answer_follows_from_the_evidence_and_from_nothing_less(options, counterfactual):
    for record in generate(**options, rows=200, seed=5, counterfactual=counterfactual):
        facts = triples(record)
        assert len({fact[:2] for fact in facts}) == len(facts), "a name and relation pair must be unambiguous"
        assert set(record["evidence"]) <= set(sentences(record))
        assert len(record["evidence"]) == record["hops"]
        chain = [tuple(sentence[:-1].split()) for sentence in record["evidence"]]
        value = next(name for name in record["question"][:-1].split() if name == chain[0][0])
        for subject, relation, following in chain:
            assert subject == value
            assert [fact[2] for fact in facts if fact[:2] == (subject, relation)] == [following]
            value = following
        assert record["golds"] == [value]
        assert record["question"].endswith(f" {chain[-1][1]}?")
        assert record["question"].count(LINK) == record["hops"] - 1
        assert sum(fact[2] == value for fact in facts) == 1, "the answer must name one fact only"


def test_a_typical_place_answers_often_and_never_where_the_context_contradicts_it():
    rows = list(generate("hard", rows=400, seed=8, typical=0.8))
    usual = [row["golds"] == [TYPICAL[row["evidence"][-1].split()[1]]] for row in rows]
    assert 0.75 <= sum(usual) / len(rows) <= 0.87
    changed = list(generate("hard", rows=400, seed=8, typical=0.8, counterfactual=True))
    assert [row["question"] for row in changed] == [row["question"] for row in rows]
    assert not any(row["golds"] == [TYPICAL[row["evidence"][-1].split()[1]]] for row in changed)
    for row in changed:
        chain = [tuple(sentence[:-1].split()) for sentence in row["evidence"]]
        assert row["golds"] == [fact[2] for fact in triples(row) if fact[:2] == chain[-1][:2]]
    with pytest.raises(ConfigError, match=r"typical: 1\.5 is not a share"):
        list(generate(typical=1.5))


@pytest.mark.parametrize("counterfactual", [False, True])
def test_facts_in_other_words_rumours_and_idle_sentences(counterfactual):
    options = {"hops": 3, "facts": 8, "rows": 200, "seed": 5, "typical": 0.8, "counterfactual": counterfactual}
    plain = list(generate(**options))
    told = list(generate(**options, paraphrased=0.5, rumours=2, noise=1))
    asked = {other: relation for relation, other in OTHERWISE.items()}
    reworded = 0
    for before, row in zip(plain, told, strict=True):
        assert (row["question"], row["golds"], row["id"]) == (before["question"], before["golds"], before["id"])
        rumours = [text for text in sentences(row) if text.startswith(RUMOUR)]
        idle = [text for text in sentences(row) if text[:-1].split()[-1] in IDLE]
        facts = [text for text in sentences(row) if text not in (*rumours, *idle)]
        assert (len(rumours), len(idle), len(facts)) == (2, 1, 8)
        reworded += sum(text.split()[1] in asked for text in facts)
        told_so = [
            (name, asked.get(relation, relation), value)
            for name, relation, value in (text[:-1].split() for text in facts)
        ]
        assert sorted(told_so) == sorted(triples(before)), "the same facts as without"
        assert set(row["evidence"]) <= set(facts)
        answer = row["evidence"][-1][:-1].split()
        against = [rumour[:-1].split()[1:] for rumour in rumours]
        assert [answer[0], asked.get(answer[1], answer[1])] in [one[:2] for one in against], (
            "the answer is contradicted"
        )
        assert not {one[2] for one in against} & {value for _, _, value in told_so if value in PLACES}
    assert 0.4 < reworded / (200 * 8) < 0.6


def test_a_rumour_is_the_same_whatever_the_answer_is_changed_to():
    pair = [list(generate(rows=50, seed=2, rumours=1, counterfactual=changed)) for changed in (False, True)]
    for row, changed in zip(*pair, strict=True):
        (rumour,) = (text for text in sentences(row) if text.startswith(RUMOUR))
        assert rumour in sentences(changed)
        assert not {row["golds"][0], changed["golds"][0]} & set(rumour[:-1].split())


def test_rows_without_labels_are_the_same_rows():
    plain, bare = (list(generate(rows=5, labelled=labelled, demonstrations=True)) for labelled in (True, False))
    assert [row | {"evidence": []} for row in plain] == bare
    assert all(row["evidence"] for row in plain)
    with pytest.raises(ConfigError, match="labelled: 1 is not true or false"):
        generate(labelled=1)


def test_more_rumours_than_facts_are_refused():
    with pytest.raises(ConfigError, match="rumours: 5 facts are to be contradicted"):
        generate("easy", rumours=5)
    with pytest.raises(ConfigError, match="noise: -1 is not a whole number"):
        generate(noise=-1)
    with pytest.raises(ConfigError, match="paraphrased: 2 is not a share"):
        generate(paraphrased=2)


@pytest.mark.parametrize("level", LEVELS)
def test_distractors_share_the_name_and_the_relations(level):
    for record in generate(level, rows=200, seed=6):
        facts = triples(record)
        *links, (name, relation, _) = (tuple(sentence[:-1].split()) for sentence in record["evidence"])
        assert any(fact[0] == name and fact[1] != relation for fact in facts)
        assert any(fact[0] != name and fact[1] == relation for fact in facts)
        for link in links:
            assert any(fact[1] == LINK and fact != link for fact in facts)


def test_levels_have_their_number_of_facts():
    counts = {level: {len(record["context"]) for record in generate(level, rows=100)} for level in LEVELS}
    assert counts == {"easy": {4}, "hard": {6, 7, 8}, "long": {12}}


def test_same_rows_in_another_process():
    code = "import json; from rlkit.data.synthetic import generate; print(json.dumps(list(generate('hard', 20, 3))))"
    for hash_seed in ("1", "2"):
        run = [sys.executable, "-c", code]
        other = subprocess.run(run, capture_output=True, check=True, env={"PYTHONHASHSEED": hash_seed})
        assert json.loads(other.stdout) == list(generate("hard", 20, 3))


def test_rows_do_not_depend_on_how_many_are_asked_for():
    assert list(generate("hard", 30, 3))[:10] == list(generate("hard", 10, 3))
    assert list(generate("hard", 10, 3)) != list(generate("hard", 10, 4))


def test_no_test_context_occurs_in_training_under_any_seed():
    seen = {split: set() for split in ("train", "test")}
    for split, contexts in seen.items():
        for seed in range(4):
            for counterfactual in (False, True):
                for record in generate(
                    "easy", 100, seed, facts=3, split=split, counterfactual=counterfactual, facts_per_passage=2
                ):
                    contexts.add(fingerprint(sentences(record)))
                    assert split_of(reversed(sentences(record))) == split
    assert len(seen["test"]) > 700
    assert not seen["train"] & seen["test"]


def test_counterfactual_rows_change_one_fact_and_the_gold():
    pairs = zip(generate("hard", 50, 7), generate("hard", 50, 7, counterfactual=True), strict=True)
    for original, changed in pairs:
        assert original["question"] == changed["question"]
        assert original["golds"] != changed["golds"]
        differing = [
            (before, after)
            for before, after in zip(triples(original), triples(changed), strict=True)
            if before != after
        ]
        assert len(differing) == 1
        before, after = differing[0]
        assert before[:2] == after[:2]
        assert [before[2]], [after[2]] == (original["golds"], changed["golds"])


def test_hop_shares_are_met():
    hops = [record["hops"] for record in generate("hard", 1000, 8, hops={1: 0.8, 2: 0.2})]
    assert set(hops) == {1, 2}
    assert 150 < hops.count(2) < 250


def test_every_fact_is_kept_when_passages_hold_several():
    one, three = (next(generate("long", 1, 2, facts_per_passage=size)) for size in (1, 5))
    assert [len(three["context"]), sentences(one)] == [3, sentences(three)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "hrad"}, "Did you mean 'hard'"),
        ({"split": "dev"}, "split: 'dev'"),
        ({"rows": 0}, "rows: 0"),
        ({"rows": True}, "rows: True"),
        ({"seed": -1}, "seed: -1"),
        ({"facts": 4}, "facts: 4 is not a number of facts from 5"),
        ({"facts": [6, "8"]}, "facts: '8'"),
        ({"facts": []}, "the list is empty"),
        ({"facts": MAX_FACTS + 1}, f"has {len(PLACES)} places"),
        ({"hops": 4}, "hops: 4"),
        ({"hops": {1: 0.0}}, "all shares are zero"),
        ({"hops": {1: float("nan")}}, "share nan"),
        ({"facts_per_passage": 0}, "facts_per_passage: 0"),
        ({"counterfactual": "yes"}, "counterfactual: 'yes'"),
        ({"demonstrations": 1}, "demonstrations: 1"),
    ],
)
def test_wrong_options_are_refused_before_the_first_row(options, message):
    with pytest.raises(ConfigError, match=message):
        generate(**options)


def test_the_largest_context_still_has_a_variant():
    original, changed = (
        next(generate("easy", 1, 0, facts=MAX_FACTS, split="test", counterfactual=changed)) for changed in (False, True)
    )
    assert original["question"] == changed["question"]
    assert original["golds"] != changed["golds"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("facts_per_passage", [1, 4])
def test_demonstrations_earn_the_maximum(level, facts_per_passage):
    reward = presets.care(evidence=(0.1, fact_coverage()))
    for record in generate(level, 50, 9, facts_per_passage=facts_per_passage, demonstrations=True):
        score = reward(Sample.from_record(record))
        assert score.total == pytest.approx(score.maximum) == pytest.approx(1.1)


def test_a_source_entry_gives_the_same_rows_and_errors_name_its_path():
    spec = {"format": "synthetic", "level": "hard", "rows": 5, "seed": 3, "facts": [5, 6]}
    assert list(from_source(spec, "sources.hard")) == list(generate("hard", 5, 3, facts=[5, 6]))
    with pytest.raises(ConfigError, match=r"^sources\.hard\.facts: 2 is"):
        from_source({**spec, "facts": 2}, "sources.hard")
    with pytest.raises(ConfigError, match=r"^sources\.hard\.fact: .* Did you mean 'facts'"):
        from_source({**spec, "fact": 2}, "sources.hard")
