"""Every real row's own gold answer and evidence earn exactly 1 in each CARE part."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rewards import Sample
from rewards.accuracy import exact_match, token_f1
from rewards.coverage import fact_coverage
from rewards.format import care_format
from rewards.gold import gold_completion
from rewards.grounding import quotes_in_context
from rewards.quoted_answer import answer_in_quotes

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
PARTS = (
    token_f1(),
    exact_match(),
    care_format(),
    quotes_in_context(),
    answer_in_quotes(),
    fact_coverage(),
    fact_coverage("recall"),
    fact_coverage("precision"),
)


def hotpotqa(joint):
    for row in json.loads(real_file("hotpotqa_distractor.json").read_text()):
        sentences = dict(row["context"])
        evidence = [
            sentences[title][index] for title, index in row["supporting_facts"] if index < len(sentences.get(title, []))
        ]
        context = [{"title": title, "text": joint.join(texts)} for title, texts in row["context"]]
        yield row["_id"], row["question"], context, [row["answer"]], evidence


def musique():
    for line in real_file("musique_ans.jsonl").read_text().splitlines():
        row = json.loads(line)
        context = [{"title": p["title"], "text": p["paragraph_text"]} for p in row["paragraphs"]]
        evidence = [p["paragraph_text"] for p in row["paragraphs"] if p["is_supporting"]]
        yield row["id"], row["question"], context, [row["answer"], *row["answer_aliases"]], evidence


def real_file(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in ../shared/data beside the project")
    return path


def thinking(spans, answer):
    return f"<think>{' '.join(f'<retrieval>{span}</retrieval>' for span in spans)}</think> Answer: {answer}"


@pytest.fixture(scope="module", params=["hotpotqa", "hotpotqa, blank between sentences", "musique"])
def samples(request):
    rows = {"hotpotqa": lambda: hotpotqa(""), "musique": musique}.get(request.param, lambda: hotpotqa(" "))()
    found = [
        Sample(id=id, question=question, context=context, golds=golds, evidence=evidence)
        for id, question, context, golds, evidence in rows
    ]
    assert len(found) == 60
    assert all(sample.evidence for sample in found)
    return found


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_gold_earns_exactly_1(samples, part):
    for sample in samples:
        for gold in sample.golds:
            value = part(sample.with_completion(thinking(sample.evidence, gold)))
            assert value == 1.0 or (value is None and gold in ("yes", "no")), (sample.id, gold)


def test_quoting_all_passages_earns_clearly_less_than_gold(samples):
    for sample in samples:
        everything = sample.with_completion(thinking([p.text for p in sample.context], sample.golds[0]))
        assert quotes_in_context()(everything) <= 0.65, sample.id
        assert fact_coverage("recall")(everything) == 1.0, sample.id
        assert fact_coverage()(everything) <= 0.65, sample.id


def test_without_labels_the_sentence_that_holds_the_answer_earns_exactly_1(samples):
    part = answer_in_quotes()
    for sample in samples:
        unlabelled = replace(sample, evidence=())
        value = part(unlabelled.with_completion(gold_completion(unlabelled)))
        assert value == 1.0 or (value is None and sample.golds[0] in ("yes", "no")), (sample.id, sample.golds)


def test_quoting_the_other_passages_holds_no_answer(samples):
    part = answer_in_quotes()
    for sample in filter(part.applies, samples):
        others = [p.text for p in sample.context if not any(gold.lower() in p.text.lower() for gold in sample.golds)]
        quotes = [text for text in others if text not in sample.evidence][:2]
        assert part(sample.with_completion(thinking(quotes, sample.golds[0]))) == 0.0, sample.id


def test_quoting_the_question_earns_nothing(samples):
    for sample in samples:
        assert quotes_in_context()(sample.with_completion(thinking([sample.question], "x"))) == 0.0, sample.id


def test_quoting_the_other_passages_covers_no_fact(samples):
    for sample in samples:
        facts = " ".join(sample.evidence)
        others = [
            p.text
            for p in sample.context
            if p.text not in facts and not any(e.strip() in p.text for e in sample.evidence)
        ]
        assert fact_coverage()(sample.with_completion(thinking(others[:3], "x"))) == 0.0, sample.id


def test_a_changed_number_in_the_evidence_never_pays_more(samples):
    digits = str.maketrans("0123456789", "1234567890")
    for sample in samples:
        changed = [text.translate(digits) for text in sample.evidence]
        if changed == list(sample.evidence):
            continue
        earned = quotes_in_context()(sample.with_completion(thinking(changed, "x")))
        intact = sum(a == b for a, b in zip(changed, sample.evidence, strict=True)) / len(changed)
        assert earned == pytest.approx(intact), sample.id


def test_a_changed_name_or_an_added_negation_in_the_evidence_pays_nothing(samples):
    chance = random.Random(0)
    name = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,}\b")
    names = sorted({match.group() for sample in samples for p in sample.context for match in name.finditer(p.text)})
    for sample in samples:
        for text in sample.evidence:
            changed = [name.sub(lambda match: chance.choice([n for n in names if n != match[0]]), text, count=1)]
            first, _, rest = text.strip().partition(" ")
            changed.append(f"{first} {chance.choice(['not', 'never'])} {rest}")
            for quote in changed:
                earned = quotes_in_context()(sample.with_completion(thinking([quote], "x")))
                assert earned == float(quote == text), (sample.id, quote)
