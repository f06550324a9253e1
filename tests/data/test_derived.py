"""Sources made from others: longer contexts keep what the answer needs, lookups have one answer, rows hang on the seed alone."""

from __future__ import annotations

import random

import pytest

from rewards import Sample, care_format, exact_match, fact_coverage
from rlkit.data.load import load_source
from rlkit.data.lookups import lookups, sentences
from rlkit.errors import ConfigError, DataError
from rlkit.prompts import chat_prompt

WORLD = {"format": "synthetic", "level": "hard"}


@pytest.fixture
def pages(write):
    """Twenty rows of ten passages of fifty words; every hundredth passage names a place of the made-up world."""
    rows = [
        {"id": f"q{n}", "question": "?", "golds": "word3", "context": [
            {"title": f"T{n}-{p}", "text": f"{'Fenwick' if p == 7 else 'A'} page {n} {p} " + " ".join(f"w{n}x{p}x{i}" for i in range(46)) + "."}
            for p in range(10)
        ]}
        for n in range(20)
    ]  # fmt: skip
    return {"format": "records", "path": str(write("pages.jsonl", rows))}


@pytest.fixture
def made(tmp_path):
    def maker(**options):
        spec = {"format": "derived", **options}
        return load_source(spec, "sources.mine", tmp_path, cache_dir=tmp_path / "cache")

    return maker


def words(record):
    return sum(len(passage["text"].split()) for passage in record["context"])


def test_a_longer_context_keeps_its_facts_in_their_order(made, pages):
    rows = list(made(of=WORLD, words=1000, rows=8, seed=3, **{"with": pages}).records())
    plain = list(load_source({**WORLD, "rows": 8, "seed": 3}).records())
    for row, bare in zip(rows, plain, strict=True):
        assert row["question"] == bare["question"]
        assert 950 < words(row) <= 1000
        texts = [passage["text"] for passage in row["context"]]
        own = [passage["text"] for passage in bare["context"]]
        assert [text for text in texts if text in own] == own
        assert len(set(texts)) == len(texts)
        assert all(fact in texts for fact in row["evidence"])
    first = [next(n for n, p in enumerate(row["context"]) if p["text"] == row["evidence"][-1]) for row in rows]
    assert max(first) > 12  # the answer is not always at the head


def test_a_filled_in_passage_never_holds_the_answer(made, pages, write):
    asked = [{"id": gold, "question": "?", "golds": gold, "context": "Here."} for gold in ("fenwick", "Lumara", "A")]
    of = {"format": "records", "path": str(write("asked.jsonl", asked))}
    about, other, short = made(of=of, words=3000, **{"with": pages}).records()
    assert not any("Fenwick page" in passage["text"] for passage in about["context"])
    assert any("Fenwick page" in passage["text"] for passage in other["context"])
    assert any("A page" in passage["text"] for passage in short["context"])  # so short an answer stands everywhere


def test_rows_hang_on_seed_and_number_alone(made, pages):
    few = list(made(of=WORLD, words=[50, 500], rows=3, seed=1, **{"with": pages}).records())
    more = list(made(of={**WORLD, "rows": 3}, words=[50, 500], rows=9, seed=1, **{"with": pages}).records())
    other = list(made(of=WORLD, words=[50, 500], rows=3, seed=2, **{"with": pages}).records())
    assert few == more[:3]
    assert len({row["id"] for row in more}) == 9
    assert [row["question"] for row in more[3:6]] == [row["question"] for row in few]
    assert [row["context"] for row in more[3:6]] != [row["context"] for row in few]
    assert {row["question"] for row in few} != {row["question"] for row in other}


def test_pairs_stay_pairs(made, pages):
    """A changed fact stands among the same passages in the same places, so that a pair differs in nothing else."""
    options = {"words": 400, "rows": 5, "seed": 4, "with": pages}
    told = list(made(of=WORLD, **options).records())
    changed = list(made(of={**WORLD, "counterfactual": True}, **options).records())
    for one, two in zip(told, changed, strict=True):
        differ = [n for n, (a, b) in enumerate(zip(one["context"], two["context"], strict=True)) if a != b]
        assert len(differ) == 1


def test_demonstrations_are_what_the_labels_say(made, pages):
    for row in made(of=WORLD, words=300, rows=4, demonstrations=True, **{"with": pages}).records():
        sample = Sample.from_record(row)
        assert [part(sample) for part in (exact_match(), care_format(), fact_coverage("recall"))] == [1, 1, 1]


def test_lookups_are_answered_from_the_context(made, pages):
    rows = list(
        made(of={"format": "synthetic", "facts": [6, 8]}, words=400, rows=6, lookups=8, **{"with": pages}).records()
    )
    for row in rows:
        turns = [*row["prompt"], {"role": "assistant", "content": row["completion"]}]
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 8
        _, _, first = turns[0]["content"].partition("\n\nQuestion: ")
        asked = [first, *(turn["content"].removeprefix("Question: ") for turn in turns[2::2])]
        assert len(set(asked)) == 8
        assert sum("has" in one and one.endswith("?") for one in asked) >= 4  # at least half are facts of the world
        for turn in turns[1::2]:
            assert turn["content"] in turns[0]["content"]


def test_a_memory_is_filled_with_talk(made, pages):
    dialogues = {"format": "dialogues", "level": "hard"}
    rows = list(made(of=dialogues, words=600, rows=4, demonstrations=True, **{"with": pages}).records())
    plain = list(load_source({**dialogues, "rows": 4, "seed": 0}).records())
    for row, bare in zip(rows, plain, strict=True):
        assert "prompt" not in row
        assert row["completion"].startswith('{"selected_memory"')
        said = [[one["text"] for one in session["utterances"]] for session in row["sessions"]]
        own = [session["utterances"][0]["text"] for session in bare["sessions"]]
        assert all(text in talk for text, talk in zip(own, said, strict=True))
        assert 540 < sum(len(text.split()) for talk in said for text in talk) <= 600
        assert all(text in chat_prompt(row, None)[0]["content"] for talk in said for text in talk)
    lookup = next(iter(made(of=dialogues, rows=1, lookups=6).records()))
    names = {session["id"] for session in lookup["sessions"]}
    days = {event["start"] for s in lookup["sessions"] for u in s["utterances"] for event in u["events"]}
    days |= {session["date"] for session in lookup["sessions"]}
    answers = [*(turn["content"] for turn in lookup["prompt"][1::2]), lookup["completion"]]
    assert set(answers) <= names | days


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"of": WORLD, "word": 3}, r"\.word: no such key; .* Did you mean 'words'\?"),
        ({"words": 3}, r"\.of: is None, but must be a source"),
        ({"of": WORLD}, "changes nothing of its rows"),
        ({"of": WORLD, "words": 100}, r"\.with: missing, but passages of another row of a made-up world contradict"),
        ({"of": WORLD, "words": 100, "with": WORLD}, r"\.with: is made up, but"),
        ({"of": WORLD, "lookups": 3, "with": {"format": "records", "path": "x"}}, r"\.with: given, but no words"),
        ({"of": WORLD, "lookups": 3, "demonstrations": True}, "has lookups and demonstrations"),
        ({"of": WORLD, "lookups": 65}, r"\.lookups: is 65, but a row holds at most 64"),
        ({"of": WORLD, "lookups": True}, r"\.lookups: True is not a whole number"),
        ({"of": WORLD, "words": [9, 3]}, r"\.words: \[9, 3\] must rise and end at 1,000,000"),
        ({"of": WORLD, "words": "many"}, r"\.words: is 'many', but must be a number of words or two"),
        ({"of": WORLD, "demonstrations": "yes"}, r"\.demonstrations: 'yes' is not true or false"),
        ({"of": {"format": "derived", "of": WORLD, "lookups": 1}, "lookups": 1}, r"\.of: is derived itself"),
        ({"of": {**WORLD, "level": "hrad"}, "lookups": 1}, r"\.of\.level: 'hrad' is unknown; .* Did you mean 'hard'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(made, options, told):
    with pytest.raises(ConfigError, match=rf"^sources\.mine.*{told}"):
        made(**options)


def test_a_file_that_is_not_there_is_named(made):
    with pytest.raises(DataError, match=r"^sources\.mine\.with\.path: .*data/hotpot_train_v1\.1\.json"):
        made(of=WORLD, words=100, **{"with": {"format": "hotpotqa", "path": "data/hotpot_train_v1.1.json"}})


def test_a_prompt_of_its_own_is_not_filled(made, pages, write):
    row = {"id": "p", "question": "?", "golds": "a", "context": "b", "prompt": [{"role": "user", "content": "b?"}]}
    mine = {"format": "records", "path": str(write("mine.jsonl", [row]))}
    with pytest.raises(DataError, match=r"sources\.mine: row p: brings a prompt of its own"):
        made(of=mine, words=100, **{"with": pages})


def test_an_edited_file_is_read_anew(made, pages, write):
    before = list(made(of=WORLD, words=200, rows=2, **{"with": pages}).records())
    write("pages.jsonl", [{"id": "n", "question": "?", "golds": "a", "context": "other words here"}])
    after = made(of=WORLD, words=200, rows=2, **{"with": pages})
    assert before != list(after.records())
    assert after.report.noted["all passages that there are do not suffice for so many words"].rows == 2


def test_rows_without_anything_to_look_up_are_counted(made, write):
    rows = [{"id": "short", "question": "?", "golds": "a", "context": "No."}, {"id": "a", "question": "?", "golds": "a", "context": "One two three four five six."}]  # fmt: skip
    loaded = made(of={"format": "records", "path": str(write("mine.jsonl", rows))}, lookups=2)
    assert loaded.rows["id"][:] == ["a"]
    assert loaded.report.dropped["nothing in it to look up"].examples == ["short"]


def test_a_lookup_has_one_answer_that_stands_in_the_text():
    """Over texts of few words, in which most cues stand more than once and most facts are told twice."""
    words = ["a", "b", "ab", "b.", 'a."', "Ada", "visited", "Bath.", "hired"]
    rng = random.Random(1)
    asked = [
        _check_lookups([" ".join(rng.choices(words, k=rng.randint(0, 40))) for _ in range(3)], rng) for _ in range(500)
    ]
    assert sum(asked) > 500


def _check_lookups(texts, rng):
    record = {"context": [{"title": "", "text": text} for text in texts]}
    book = [sentence for text in texts for sentence in sentences(text)]
    found = lookups(record, 4, rng)
    assert len({question for question, _ in found}) == len(found) <= 4
    for question, answer in found:
        cue = question.partition(": ")[2]
        subject = "" if cue else question.removesuffix("?").split()[-2]
        assert [one for one in book if (cue in one if cue else _tells(one, subject, answer))] == [answer]
    return len(found)


def _tells(sentence, subject, answer):
    """Whether a sentence is a fact of the made-up world about the same person and relation as the answer."""
    words = sentence.rstrip(".").split(" ")
    return len(words) == 3 and words[:2] == [subject, answer.split(" ")[1]]


def test_a_long_book_costs_no_more_than_a_page(monkeypatch):
    """Sentences that are searched for in the whole text grow with the questions, not with the text."""
    searched = []
    monkeypatch.setattr("rlkit.data.lookups._cue", lambda sentence, book, rng: searched.append(sentence) or sentence)
    book = {"context": [{"title": "", "text": " ".join(f"Word {n} is the next one here." for n in range(40_000))}]}
    assert len(lookups(book, 8, random.Random(1))) == 8
    assert len(searched) == 32


def test_real_slices(slices, made):
    hotpot = {"format": "hotpotqa", "path": str(slices / "hotpotqa_distractor.json")}
    musique = {"format": "musique", "path": str(slices / "musique_ans.jsonl")}
    for row in made(of=hotpot, words=5000, demonstrations=True, **{"with": musique}).records():
        assert 4700 < words(row) <= 5000
        text = chat_prompt(row, None)[0]["content"]
        assert all(fact in text for fact in row["evidence"])
    asked = made(of=musique, lookups=12)
    assert asked.report.kept == 60
