"""Support without labels: a useless quote earns nothing, however true it is; likelihoods are the model's own."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
import torch

from rewards import exact_match, presets, weighted
from rewards.errors import RewardError
from rlkit.auditing.run import audit
from rlkit.cli import main
from rlkit.data.synthetic import generate
from rlkit.training.support import answer_likelihoods, quote_support, with_start_model

ROOT = Path(__file__).resolve().parents[2]
PASSAGES = ["Ada hired Leo.", "Leo visited Rome.", "Mia visited Oslo.", "Ada painted Bern."]
NEEDED = ["Ada hired Leo.", "Leo visited Rome."]


def knows_rome(questions):
    """Finds the answer where both needed facts are quoted, half of it where the last one is."""
    assert len(set(questions)) == len(questions), "nothing is asked twice"
    return [
        0.82 if set(NEEDED) <= set(quotes) else 0.5 if NEEDED[1] in quotes else 0.1
        for _, quotes, answer in questions
        if answer == "Rome"
    ]


def value(measure, *spans, golds=("Rome",), judge=knows_rome, passages=PASSAGES):
    text = "<think>" + "".join(f"<retrieval>{span}</retrieval>" for span in spans) + "</think> Answer: Rome"
    part = quote_support(measure, judge=judge)
    columns = {"question": ["Where?"], "context": [passages], "golds": [list(golds)], "task": ["care"]}
    (one,) = part(prompts=["p"], completions=[[{"role": "assistant", "content": text}]], **columns)
    return one


def test_sufficiency_is_what_the_quotes_tell_of_what_was_unknown():
    assert value("sufficiency", *NEEDED) == pytest.approx((0.82 - 0.1) / 0.9 / 0.9)
    assert value("sufficiency", NEEDED[1]) == pytest.approx((0.5 - 0.1) / 0.9 / 0.9)
    assert value("sufficiency", "Mia visited Oslo.") == 0
    assert value("sufficiency", "Mia visited Oslo.", *NEEDED) == value("sufficiency", *NEEDED)


def test_necessity_falls_with_every_quote_that_is_not_needed():
    whole = value("necessity", *NEEDED)
    assert whole == pytest.approx(((0.82 - 0.5) + (0.82 - 0.1)) / 2 / 0.9 / 0.9)
    assert value("necessity", "Mia visited Oslo.", *NEEDED) == pytest.approx(whole * 2 / 3)
    assert value("necessity", "Mia visited Oslo.") == 0


def test_economy_is_the_share_of_words_that_are_needed():
    assert value("economy", *NEEDED) == value("sufficiency", *NEEDED)
    assert value("economy", "Mia visited Oslo.", *NEEDED) == pytest.approx(value("sufficiency", *NEEDED) * 6 / 9)
    assert value("economy", "Mia visited Oslo.", "Ada painted Bern.") == 0


def test_what_is_needed_least_is_taken_out_first():
    """In the order of the quotes, either of the first two would go, and the longer one would be left."""
    needed = {"Ada hired Leo.": 0.82, "Bo hired the young Mia.": 0.85, "Leo visited Rome.": 0.2}

    def reads(questions):
        left_out = [[left for quote, left in needed.items() if quote not in quotes] for _, quotes, _ in questions]
        return [0.1 if len(out) == 3 else 0.2 if len(out) == 2 else out[0] if out else 0.9 for out in left_out]

    passages = list(needed)
    kept = 6 / 11  # words
    whole = value("sufficiency", *needed, judge=reads, passages=passages)
    assert value("economy", *needed, judge=reads, passages=passages) == pytest.approx(whole * kept)


def test_a_quote_that_misleads_costs_no_more_than_a_useless_one():
    """It takes nothing from what the needed quote earns beyond its share of the mean."""

    def misled(questions):
        return [0.5 if len(quotes) == 2 else 0.82 if quotes == (NEEDED[1],) else 0.1 for _, quotes, _ in questions]

    lost = (0.5 - 0.1) / 0.9 / 0.9
    assert value("necessity", NEEDED[1], "Mia visited Oslo.", judge=misled) == pytest.approx(lost / 2)


def test_one_of_two_equal_quotes_is_enough():
    """Each could go alone, so leaving out one at a time calls both useless; taking out one after the other keeps one."""

    def either(questions):
        return [0.9 if {"Ada hired Leo.", "Leo visited Rome."} & set(quotes) else 0.1 for _, quotes, _ in questions]

    assert value("necessity", *NEEDED, judge=either) == 0
    assert value("economy", *NEEDED, judge=either) == pytest.approx(value("sufficiency", *NEEDED, judge=either) / 2)


def test_spans_that_differ_in_case_alone_are_one_however_many_there_are():
    many = [f"{'LEO'[:n]}{'leo'[n:]} visited Rome" for n in range(4)] + [f"Leo {word} Rome" for word in ("Visited", "vIsited", "viSited", "visIted", "VISITED", "visited")]  # fmt: skip
    assert value("sufficiency", *many, "Ada hired Leo.") == value("sufficiency", "Leo visited Rome", "Ada hired Leo.")
    assert (
        value("sufficiency", *[f"Leo visited Rome {n}" for n in range(12)]) == 0
    )  # more than eight are not asked about


def test_nine_tenths_are_enough_so_that_a_last_doubt_decides_nothing():
    """Else leaving out a fact that is hard to read pays a hair more than quoting it."""

    def hesitates(questions):
        return [0.95 if set(NEEDED) <= set(quotes) else 0.96 if quotes else 0.1 for _, quotes, _ in questions]

    assert value("sufficiency", *NEEDED, judge=hesitates) == value("sufficiency", NEEDED[1], judge=hesitates) == 1


def believes_all(questions):
    return [0.99 if quotes else 0.1 for _, quotes, _ in questions]


def test_invented_quotes_cost_what_they_cost_in_verbatim_grounding():
    """Not looking at them would make them free: they earn nothing here, and cost nothing either."""
    invented = "Bo left town."
    assert value("sufficiency", *NEEDED, judge=believes_all) == 1
    assert value("sufficiency", *NEEDED, invented, judge=believes_all) == pytest.approx(2 / 3)
    assert value("sufficiency", invented, judge=believes_all) == 0


def test_quoting_everything_costs_without_a_label():
    assert value("sufficiency", *PASSAGES, judge=believes_all) < 0.9


@pytest.mark.parametrize("span", ["a", "the", "Rome", "Leo"])
def test_a_quote_that_says_nothing_or_the_answer_alone_earns_nothing(span):
    assert value("sufficiency", span, judge=believes_all) == 0


def test_an_answer_of_many_words_alone_is_no_evidence():
    passages = ["The big green clock tower stands in Rome."]
    alone, more = "big green clock tower", "green clock tower stands in Rome"
    assert value("sufficiency", alone, golds=[alone], judge=believes_all, passages=passages) == 0
    assert value("sufficiency", more, golds=["clock tower"], judge=believes_all, passages=passages) == 1


def test_the_model_reads_the_passages_and_not_what_a_quote_made_of_them():
    seen = []

    def reads(questions):
        seen.extend(quotes for _, quotes, _ in questions)
        return believes_all(questions)

    passages = ["The old tower in the north of the country stands in Rome."]
    quote = "the old towers in the north of a country stands in Rome."
    assert 0.85 < value("sufficiency", quote, judge=reads, passages=passages) < 1
    assert set(seen) == {(), (passages[0].rstrip("."),)}


def test_the_model_reads_quotes_in_their_order_and_those_of_one_place_as_one():
    seen = []

    def reads(questions):
        seen.extend(quotes for _, quotes, _ in questions)
        return believes_all(questions)

    value("sufficiency", "Leo visited Rome.", "Ada hired Leo.", judge=reads)
    assert seen[-1] == ("Leo visited Rome.", "Ada hired Leo.")
    long = "Leo visited Rome in the cold winter."
    value("sufficiency", "visited Rome in the cold winter", "Leo visited Rome in", judge=reads, passages=[long])
    assert seen[-1] == ("Leo visited Rome in the cold winter",)


def test_quotes_that_are_invented_or_too_many_earn_nothing():
    assert value("sufficiency", "The answer is Rome.", judge=believes_all) == 0
    assert value("sufficiency", judge=believes_all) == 0
    assert value("sufficiency", "Leo visited Rome.", judge=believes_all) > 0.8
    tale = [f"In the year {1900 + at} somebody came back to Rome." for at in range(90)]
    assert value("sufficiency", *tale[:8], judge=believes_all, passages=tale) > 0.5
    assert value("sufficiency", *tale[:9], judge=believes_all, passages=tale) == 0
    long = [" ".join(tale[:44]), " ".join(tale[44:88])]
    assert value("sufficiency", long[0], judge=believes_all, passages=long) > 0.3
    assert value("sufficiency", *long, judge=believes_all, passages=long) == 0


def test_the_best_of_several_golds_counts():
    def one_name(questions):
        return [0.55 if quotes and answer == "Roma" else 0.1 for _, quotes, answer in questions]

    assert value("sufficiency", *NEEDED, golds=("Rome", "Roma"), judge=one_name) == pytest.approx(0.45 / 0.9 / 0.9)


def reads_the_world(questions):
    """Finds the place of the asked relation in the quotes: that of the right person where the quotes say who it is."""
    found = []
    for question, quotes, answer in questions:
        facts = [quote.rstrip(".").split() for quote in quotes]
        name, relation = question.rstrip("?").split()[-2:]
        if " hired by " in question:
            hired = [value for subject, link, value in facts if (subject, link) == (name, "hired")]
            name = hired[0] if hired else ""
        places = {value for subject, asked, value in facts if asked == relation and name in ("", subject)}
        found.append(0.98 / len(places) if answer in places else 0.02)
    return found


@pytest.mark.parametrize(
    ("measure", "pays"),
    [("sufficiency", set()), ("necessity", {"one_fact_of_several"}), ("economy", {"one_fact_of_several"})],
)
def test_of_the_measures_sufficiency_alone_passes_the_audit(measure, pays):
    """The other two pay for leaving out the fact that leads to the last one: without others beside it, that is guessed."""
    rows = [("world", r) for level in ("easy", "hard") for r in generate(level, 5, seed=3, labelled=True)]
    reward = presets.care(accuracy=exact_match(), grounding=quote_support(measure, judge=reads_the_world))
    report = audit(reward, rows, workers=1, system=None)
    assert {line.name for line in report.findings} == pays
    lines = {line.name: line for line in report.lines}
    for useless in ("irrelevant_true_quotes", "distractor_quote", "answer_as_quote", "whole_context"):
        assert lines[useless].right.earned < lines[useless].right.honest - 0.1 * lines[useless].rows


def test_what_does_not_apply_is_none_and_what_is_wrong_is_said():
    part = quote_support(judge=knows_rome)
    columns = {"question": ["?"], "context": [[]], "golds": [["Rome"]], "task": ["care"]}
    assert part(prompts=["p"], completions=["x"], **columns) == [None]
    with pytest.raises(RewardError, match="measure is 'sufficient'"):
        quote_support("sufficient")
    with pytest.raises(RewardError, match="batch_size is 0"):
        quote_support(batch_size=0)
    said = "<think><retrieval>Ada hired Leo.</retrieval></think> Answer: Rome"
    with pytest.raises(RewardError, match="no training run is under way"):
        quote_support()(prompts=["p"], completions=[said], **{**columns, "context": [PASSAGES]})


def test_a_run_fills_in_its_start_model_where_none_is_named():
    reward = weighted(own=(0.5, quote_support(model="mine")), start=(0.5, quote_support("necessity")))
    filled = with_start_model(reward, "runs/sft/model", None)
    assert filled.parts["own"].model == "mine"
    assert (filled.parts["start"].model, filled.parts["start"].system) == ("runs/sft/model", None)
    assert filled.parts["start"].measure == "necessity"
    assert pickle.loads(pickle.dumps(filled)).parts["start"] == filled.parts["start"]


def test_check_judges_golds_without_a_model(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = ["check", "configs/quickstart/grpo.yaml", "--limit", "5", "model.model_name_or_path=nowhere"]
    part = 'rewards.support={"use": "rlkit.training.support:quote_support", "weight": 0.2, "measure": "necessity"}'
    assert main([*arguments, part]) == 0
    printed = capsys.readouterr().out
    assert "10 of 10 earn the maximum" in printed
    assert "not judged, because a model is asked: support" in printed


def test_likelihoods_are_those_of_the_model_whatever_the_batch():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, initializer_range=0.5,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    pairs = [([3, 4, 5], [6, 7]), ([8], [9]), ([1, 2, 3, 4, 5, 6, 7], [8, 9, 10])]
    for (prompt, answer), got in zip(pairs, answer_likelihoods(model, pairs), strict=True):
        tokens = torch.tensor([[*prompt, *answer]])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        expected = math.exp(-model(input_ids=tokens, labels=labels).loss.item())
        assert got == pytest.approx(expected, rel=1e-4)
        assert 0 < got < 1
