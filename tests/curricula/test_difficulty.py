import json
from pathlib import Path

import pytest

from curricula import bucket, constant, context_words, evidence_words, hops, plan, select

MUSIQUE = Path(__file__).resolve().parents[2] / "../shared/data/musique_ans.jsonl"
SESSIONS = [
    {"id": "s1", "utterances": [{"text": "Hello there."}, {"text": "Hi."}]},
    {"id": "s2", "utterances": [{"text": "See you on Monday."}]},
]
ROWS = [
    {"id": "a", "context": [{"title": "T", "text": "one two three"}], "evidence": ["one"]},
    {"id": "b", "context": [{"title": "T", "text": "one " * 10}], "evidence": ["one", "two words"]},
    {"id": "c", "context": [{"title": "T", "text": "one " * 20}], "evidence": []},
    {"id": "d", "context": [{"title": "T", "text": "one " * 10}, "two " * 10], "evidence": ["x"], "hops": 4},
]


def depth(record):
    return len(record["context"])


class AtLeast:
    def __init__(self, words):
        self.words = words

    def __call__(self, record):
        return context_words(record) >= self.words


def test_context_words_counts_passages_of_both_shapes_and_sessions():
    assert [context_words(row) for row in ROWS] == [3, 10, 20, 20]
    assert context_words({"context": [], "sessions": SESSIONS}) == 7
    assert context_words({}) == 0


def test_hops_takes_the_field_first_and_none_where_nothing_is_labelled():
    assert [hops(row) for row in ROWS] == [1, 2, None, 4]
    assert hops({"evidence": ["same", "same"]}) == 1
    assert hops({"evidence": ["one"], "hops": 0}) == 0
    assert hops({"evidence": ["one"], "hops": None}) == 1
    assert hops({}) is None


def test_evidence_words_counts_the_labelled_text_and_named_sessions():
    assert [evidence_words(row) for row in ROWS] == [1, 3, None, 1]
    assert evidence_words({"sessions": SESSIONS, "evidence": ["s1", "s1"]}) == 3
    assert evidence_words({"sessions": SESSIONS, "evidence": []}) is None


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"context_words": [None, 10]}, [0, 1]),
        ({"context_words": [10, None]}, [1, 2, 3]),
        ({"context_words": [10, 10]}, [1]),
        ({"context_words": (10, None), "hops": [2, 3]}, [1]),
        ({"hops": [1, None]}, [0, 1, 3]),
        ({"evidence_words": [1, 1], "hops": [None, 1]}, [0]),
        ({depth: [2, None]}, [3]),
        ({AtLeast(10): [1, 1], "hops": [1, 2]}, [1]),
    ],
)
def test_select_keeps_the_rows_that_meet_every_condition(conditions, kept):
    assert list(select(iter(ROWS), conditions)) == kept


def test_bucket_names_its_ranges_and_leaves_out_what_is_in_none():
    found = bucket(iter(ROWS), "hops", {"hard": [4, 9], "easy": [None, 1], "none": [10, None]})
    assert {name: list(rows) for name, rows in found.items()} == {"hard": [3], "easy": [0], "none": []}
    assert list(found) == ["hard", "easy", "none"]
    assert list(bucket(ROWS, depth, {"deep": [2, 2]})["deep"]) == [3]


def test_rows_are_read_one_at_a_time():
    alive = 0

    class Record(dict):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def rows():
        nonlocal alive
        for number in range(1000):
            alive += 1
            assert alive <= 3
            yield Record(context=["word " * (number % 7)])

    assert len(select(rows(), {"context_words": [3, None]})) == 571
    assert len(bucket(rows(), "context_words", {"short": [0, 2]})["short"]) == 429


@pytest.mark.parametrize(
    "bad", [[2], [1, 2, 3], 2, "12", None, {"min": 1}, [True, None], ["1", None], [float("nan"), 2]]
)
def test_a_condition_that_is_no_range_is_refused_with_its_path(bad):
    with pytest.raises(ValueError, match=r"^where.hops: .* is not a pair .* Write \[2, 4\], or null"):
        select(ROWS, {"hops": bad})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select(ROWS, {"hop": [1, 2]}), "^where.hop: no such measure; .* Did you mean 'hops'"),
        (lambda: select(ROWS, {"hops": [None, None]}), "^where.hops: .* open at both ends"),
        (lambda: select(ROWS, {"hops": [3, 2]}), "^where.hops: .* the wrong way round"),
        (lambda: select(ROWS, [["hops", 1, 2]]), "^where: .* is not a mapping"),
        (lambda: bucket(ROWS, "context_word", {}), "^context_word: no such measure; .* 'context_words'"),
        (lambda: bucket(ROWS, "hops", {"a": [1, 2], "c": [7, 8], "b": [2, 3]}), "^hops: .*'a' and 'b' overlap at 2"),
        (lambda: bucket(ROWS, "hops", {"a": [1, "2"]}), "^hops.a: .* is not a pair"),
        (lambda: select([{"id": "q7", "hops": "2"}], {"hops": [2, 2]}), r"^where.hops: row 0 \(id 'q7'\) .*'2' is not"),
        (
            lambda: select(ROWS, {lambda row: row["year"]: [1, 2]}),
            r"row 0 \(id 'a'\) cannot be measured: KeyError: 'year'",
        ),
        (
            lambda: select(ROWS, {lambda row: float("nan"): [1, 2]}),
            r"row 0 \(id 'a'\) measures nan, which is no number",
        ),
        (lambda: bucket(ROWS, lambda row: "long", {"a": [1, 2]}), r"row 0 \(id 'a'\) measures 'long'"),
    ],
)
def test_messages_name_the_place_and_the_way_out(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_measure_that_no_row_supports_is_an_error_and_not_an_empty_source():
    unlabelled = [{"id": str(n), "context": ["a b c"], "evidence": []} for n in range(5)]
    for call in (
        lambda: select(unlabelled, {"context_words": [1, None], "hops": [2, 2]}),
        lambda: bucket(unlabelled, "hops", {"easy": [1, 2]}),
    ):
        with pytest.raises(ValueError, match="hops: none of the 5 rows says"):
            call()
    assert list(select([], {"hops": [2, 2]})) == []
    assert list(select(unlabelled, {"context_words": [9, None], "hops": [2, 2]})) == []


def test_one_real_data_set_is_its_own_easy_and_hard_source():
    if not MUSIQUE.is_file():
        pytest.skip("the MuSiQue slice is not beside the project (../shared/data/musique_ans.jsonl)")
    rows = []
    with MUSIQUE.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            evidence = [p["paragraph_text"] for p in line["paragraphs"] if p["is_supporting"]]
            rows.append({"context": [p["paragraph_text"] for p in line["paragraphs"]], "evidence": evidence})
    found = bucket(rows, "hops", {"easy": [2, 2], "hard": [3, None]})
    assert sorted([*found["easy"], *found["hard"]]) == list(range(len(rows)))
    assert min(map(len, found.values())) >= 10
    assert list(found["easy"]) == list(select(rows, {"hops": [2, 2]}))
    order = plan(constant({"easy": 1, "hard": 1}), {name: len(kept) for name, kept in found.items()}, 10, 4, seed=0)
    assert all(len(rows[found[draw.source][draw.index]]["evidence"]) == 2 for draw in order if draw.source == "easy")
    assert all(context_words(row) > 500 for row in rows)
