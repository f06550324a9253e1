from __future__ import annotations

import pytest

from rlkit.data.drop import flat_golds
from rlkit.errors import DataError

NO_DATE = {"day": "", "month": "", "year": ""}


def number(value):
    return {"number": value, "date": NO_DATE, "spans": []}


def spans(*values):
    return {"number": "", "date": NO_DATE, "spans": list(values)}


def date(day, month, year):
    return {"number": "", "date": {"day": day, "month": month, "year": year}, "spans": []}


def pair(query_id, question, answer, *validated):
    return {"question": question, "answer": answer, "query_id": query_id, "validated_answers": list(validated)}


PASSAGE = "The Bears beat the Lions 24-17 on 5 March 1990. Smith scored twice."
RELEASE = {
    "nfl_1": {
        "passage": PASSAGE,
        "qa_pairs": [
            pair("q1", "How many points did the Bears win by?", number("7")),
            pair(
                "q2", "Which teams played?", spans("Bears", "Lions"), spans("Bears", "Lions"), spans("Lions", "Bears")
            ),
            pair("q3", "When was the game?", date("5", "March", "1990"), date("", "March", "1990"), number("1990")),
            pair("q4", "Who scored?", spans("Smith"), spans("smith"), spans("Smith")),
            pair("q5", "Who lost the ball?", spans()),
        ],
        "wiki_url": "https://example.org",
    },
    "history_2": {"passage": "It ended in 1815.", "qa_pairs": [pair("q6", "When did it end?", number(1815))]},
}


def test_original_layout(load, write):
    loaded = load(write("drop.json", RELEASE), "drop")
    assert {record["id"]: record["golds"] for record in loaded.records()} == {
        "q1": ["7"],
        "q2": ["Bears, Lions", "Lions, Bears"],
        "q3": ["5 March 1990", "March 1990", "1990"],
        "q4": ["Smith", "smith"],
        "q6": ["1815"],
    }
    record = next(loaded.records())
    assert (record["context"], record["evidence"]) == ([{"title": "", "text": PASSAGE}], [])
    assert (loaded.report.read, loaded.report.kept) == (6, 5)
    assert loaded.report.dropped["no answer"].examples == ["q5"]


def test_a_pair_without_id_or_validated_answers_loads(load, write):
    release = {"p": {"passage": PASSAGE, "qa_pairs": [{"question": "By how much?", "answer": number("7")}]}}
    assert load(write("drop.json", release), "drop").rows[0]["id"] == "p-0"


def test_questions_on_a_blank_passage_are_dropped_and_counted(load, write, hub):
    release = {**RELEASE, "blank": {"passage": " \n", "qa_pairs": [pair("q7", "What?", number("1"))]}}
    dropped = load(write("drop.json", release), "drop").report.dropped
    assert (dropped["no passages"].rows, dropped["no passages"].examples) == (1, ["q7"])
    trained = {key: {**section, "qa_pairs": section["qa_pairs"][:1]} for key, section in release.items()}
    hub(list(hub_rows(trained, training=True)), hub_features())
    assert load("ucinlp/drop", "drop", split="train").report.dropped["no passages"].examples == ["q7"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("Who?", r": the pair is 'Who\?' \(str\), but must be an object"),
        (pair("q9", None, number("1")), r"question q9\): question is None \(NoneType\), but must be text"),
        (pair("q9", "Who?", "seven"), r"question q9\): an answer is 'seven' \(str\), but must be an object"),
        (pair("q9", "Who?", number("1"), ["x"]), r"question q9\): an answer is \['x'\] \(list\)"),
        (pair("q9", "Who?", {"spans": "Smith"}), r"question q9\): answer\.spans is 'Smith' .* must be a list"),
        (pair("q9", "Who?", {"date": "May"}), r"question q9\): answer\.date is 'May' .* must be an object"),
        ({**pair("q9", "Who?", None), "validated_answers": "x"}, r"question q9\): validated_answers is 'x'"),
    ],
)
def test_a_pair_of_another_shape_is_named_with_what_is_wrong(load, write, bad, message):
    release = {"p": {"passage": PASSAGE, "qa_pairs": [pair("q1", "Who?", spans("Smith")), bad]}}
    with pytest.raises(DataError, match=rf"drop\.json: passage 'p': qa_pairs\[1\].*{message}"):
        load(write("drop.json", release), "drop")


def test_pairs_that_are_no_list_are_refused(load, write):
    with pytest.raises(DataError, match=r"passage 'p': qa_pairs is \{\} \(dict\), but must be a list"):
        load(write("drop.json", {"p": {"passage": PASSAGE, "qa_pairs": {}}}), "drop")


def test_a_file_that_is_broken_near_its_beginning_names_the_line(load, write):
    with pytest.raises(DataError, match=r"drop\.json:2: broken JSON: unallowed token"):
        load(write("drop.json", '{"p": {"passage": "x",\n"qa_pairs": [}}'), "drop")


def hub_features():
    from datasets import Features, List, Value

    text = Value("string")
    return Features(
        {
            "section_id": text,
            "query_id": text,
            "passage": text,
            "question": text,
            "answers_spans": {"spans": List(text), "types": List(text)},
        }
    )


def hub_rows(release, training):
    """The rows of the hub's conversion: of the training file it takes the answer, of the other the validated ones."""
    for section_id, section in release.items():
        for qa in section["qa_pairs"]:
            flat = []
            for answer in [qa["answer"]] if training else qa["validated_answers"]:
                parts = [answer["date"][part] for part in ("day", "month", "year")]
                if answer["number"] != "":
                    flat.append((answer["number"], "number"))
                elif any(parts):
                    flat.append((" ".join(parts).strip(), "date"))
                flat += [(span, "span") for span in answer["spans"]]
            if flat:
                yield {
                    "section_id": section_id,
                    "query_id": qa["query_id"],
                    "passage": section["passage"],
                    "question": qa["question"],
                    "answers_spans": {"spans": [str(s) for s, _ in flat], "types": [kind for _, kind in flat]},
                }


def test_hub_columns_of_the_training_split_give_the_same_records(load, write, hub):
    release = {
        key: {**section, "qa_pairs": [{**qa, "validated_answers": []} for qa in section["qa_pairs"]]}
        for key, section in RELEASE.items()
    }
    expected = list(load(write("drop.json", release), "drop").records())
    hub(list(hub_rows(release, training=True)), hub_features())
    assert list(load("ucinlp/drop", "drop", split="train").records()) == expected


def test_hub_columns_of_the_validation_split_give_every_annotators_answer(load, hub):
    hub(list(hub_rows(RELEASE, training=False)), hub_features())
    golds = {record["id"]: record["golds"] for record in load("ucinlp/drop", "drop", split="validation").records()}
    assert golds == {"q2": ["Bears, Lions", "Lions, Bears"], "q3": ["March 1990", "1990"], "q4": ["smith", "Smith"]}


def test_a_date_without_a_month_has_no_double_space():
    assert flat_golds([("5  1990", "date")]) == ["5 1990"]


@pytest.mark.parametrize(
    ("flat", "golds"),
    [
        ([], []),
        ([("A", "span"), ("B", "span"), ("A", "span"), ("C", "span")], ["A, B", "A, C"]),
        ([("New York", "span"), ("York", "span")], ["New York", "York"]),
        ([("A", "span"), ("2", "number"), ("B", "span")], ["A", "2", "B"]),
    ],
)
def test_where_one_answer_ends_in_the_flat_list(flat, golds):
    assert flat_golds(flat) == golds
