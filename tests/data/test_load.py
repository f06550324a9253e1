from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from rlkit.data import cache
from rlkit.data import load as load_module
from rlkit.data.load import load_source
from rlkit.errors import ConfigError, DataError

ROWS = [{"id": f"q{n}", "question": "?", "golds": "a", "context": "word " * (n + 1)} for n in range(10)]
HOTPOT = {"_id": "1", "question": "?", "answer": "a", "supporting_facts": [], "context": [["T", ["S."]]]}
MUSIQUE = {"id": "1", "question": "?", "answer": "a", "paragraphs": []}
DROP = {"p": {"passage": "x", "qa_pairs": []}}
MARCO = {name: {"0": "x"} for name in ("answers", "passages", "query", "query_id")}


def ids(loaded):
    return loaded.rows["id"][:]


# limit and where


def test_limit_keeps_the_first_rows_and_reads_no_further(load, write):
    path = write("mine.jsonl", ROWS[:4])
    path.write_text(path.read_text() + "this is no JSON\n")
    loaded = load(path, "records", limit=4)
    assert ids(loaded) == ["q0", "q1", "q2", "q3"]
    assert (loaded.report.read, loaded.report.limited) == (4, True)
    assert str(loaded.report) == "read 4, kept 4, stopped at the limit"


def test_limit_counts_the_rows_that_meet_where(load, write):
    path = write("mine.jsonl", ROWS)
    loaded = load(path, "records", where={"context_words": [4, 9]}, limit=2)
    assert ids(loaded) == ["q3", "q4"]
    report = loaded.report
    assert {reason: (count.rows, count.examples) for reason, count in report.dropped.items()} == {
        "not where context_words [4, 9]": (4, ["q0", "q1", "q2", "q9"]),
        "over the limit of 2": (4, ["q5", "q6", "q7", "q8"]),
    }
    assert report.read == report.kept + sum(count.rows for count in report.dropped.values()) == 10
    again = load(path, "records", where={"context_words": [4, 9]}, limit=2)
    assert (ids(again), again.report) == (ids(loaded), report)


def test_no_row_left_says_where_they_went_and_what_would_fit(load, write):
    with pytest.raises(DataError) as caught:
        load(write("mine.jsonl", ROWS), "records", where={"context_words": [11, None]})
    assert str(caught.value).splitlines() == [
        f"sources.mine: no row of {write('mine.jsonl', ROWS)} is left to train on; read 10, kept 0",
        "  dropped 10: not where context_words [11, null] (q0, q1, q2, q3, q4, ...)",
        "  context_words lies between 1 and 10; widen `sources.mine.where.context_words`.",
    ]
    with pytest.raises(DataError, match=r"is left to train on; read 1, kept 0\n  dropped 1: no answer \(1\)"):
        load(write("hotpot.json", [{**HOTPOT, "answer": ""}]), "hotpotqa")


def test_a_wrong_condition_is_an_error_of_the_config(load, write):
    with pytest.raises(ConfigError, match=r"^sources\.mine\.where\.context_word: no such measure.* 'context_words'"):
        load(write("mine.jsonl", ROWS), "records", where={"context_word": [1, 2]})


# several files, containers


def test_a_pattern_reads_its_files_in_the_order_of_their_names(load, write, tmp_path):
    (tmp_path / "data").mkdir()
    for name, part in (("b", ROWS[:2]), ("a", ROWS[2:3]), ("c", ROWS[3:4])):
        write(f"data/{name}.jsonl", part)
    assert ids(load("data/*.jsonl", "records")) == ["q2", "q0", "q1", "q3"]


def test_a_pattern_without_files_says_what_was_tried(load, tmp_path):
    with pytest.raises(DataError, match=rf"^sources\.mine\.path: no file matches {tmp_path}/data/\*\.jsonl;"):
        load("data/*.jsonl", "records")


def test_the_same_rows_in_every_container(load, write, tmp_path):
    import gzip

    from datasets import Dataset, DatasetDict

    rows = [{**row, "context": [row["context"]]} for row in ROWS]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    expected = list(load(write("mine.jsonl", rows), "records").records())
    write("array.json", rows)
    write("lines.json", "\n\n" + lines)
    write("bom.jsonl", b"\xef\xbb\xbf" + lines.encode())
    write("bom.json", b"\xef\xbb\xbf " + json.dumps(rows).encode())
    write("windows.jsonl", lines.replace("\n", "\r\n").encode())
    write("no_last_break.jsonl", lines.rstrip("\n").encode())
    write("mine.jsonl.gz", gzip.compress(lines.encode()))
    write("array.json.gz", gzip.compress(json.dumps(rows).encode()))
    dataset = Dataset.from_list(rows)
    dataset.to_parquet(tmp_path / "mine.parquet")
    dataset.save_to_disk(tmp_path / "saved")
    DatasetDict(train=dataset, test=dataset.select([0])).save_to_disk(tmp_path / "splits")
    names = ["array.json", "lines.json", "bom.jsonl", "bom.json", "windows.jsonl", "no_last_break.jsonl"]
    for name in [*names, "mine.jsonl.gz", "array.json.gz", "mine.parquet", "saved"]:
        assert list(load(name, "records").records()) == expected, name
    assert list(load("splits", "records", split="train").records()) == expected
    assert len(load("splits", "records", split="test").rows) == 1
    with pytest.raises(
        ConfigError, match=r"sources\.mine\.split: 'trian' is not in .*splits; there are train, test\. Did"
    ):
        load("splits", "records", split="trian")
    with pytest.raises(ConfigError, match=r"sources\.mine\.split: .*saved holds one split"):
        load("saved", "records", split="train")


def test_the_synthetic_world_is_a_source_like_the_others(tmp_path):
    from types import MappingProxyType

    from rlkit.data.synthetic import generate

    spec = {"format": "synthetic", "level": "hard", "rows": 50, "seed": 3, "hops": {1: 0.5, 2: 0.5}}
    frozen = MappingProxyType({**spec, "hops": MappingProxyType(spec["hops"])})
    loaded = load_source(frozen, "sources.hard", cache_dir=tmp_path)
    options = {key: value for key, value in spec.items() if key != "format"}
    assert list(loaded.records()) == list(generate(**options))
    some = load_source({**spec, "where": {"hops": [2, 2]}, "limit": 5}, "sources.hard", cache_dir=tmp_path)
    assert [record["hops"] for record in some.records()] == [2] * 5
    assert len(load_source({**spec, "rows": 60}, "sources.hard", cache_dir=tmp_path).rows) == 60
    with pytest.raises(ConfigError, match=r"^sources\.hard\.path: no such key"):
        load_source({**spec, "path": "x"}, "sources.hard", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"^sources\.hard\.limit: 0 must be"):
        load_source({**spec, "limit": 0}, "sources.hard", cache_dir=tmp_path)


# finding what `path` means


def test_a_relative_path_starts_at_the_base_folder_or_the_current_one(write, tmp_path, monkeypatch):
    write("mine.jsonl", ROWS)
    spec = {"format": "records", "path": "mine.jsonl"}
    assert len(load_source(spec, base_dir=tmp_path, cache_dir=tmp_path / "cache").rows) == 10
    monkeypatch.chdir(tmp_path)
    assert len(load_source(spec, cache_dir=tmp_path / "cache").rows) == 10


def test_a_missing_file_says_what_was_tried_and_what_is_near(load, write, tmp_path):
    write("hotpotqa_distractor.json", [HOTPOT])
    with pytest.raises(DataError) as caught:
        load("hotpotqa_distracter.json", "hotpotqa")
    assert str(caught.value) == (
        f"sources.mine.path: there is no file {tmp_path}/hotpotqa_distracter.json. Did you mean 'hotpotqa_distractor.json'? "
        "A hub data set is written owner/name."
    )
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=rf"and no 'date' in {tmp_path}\. Did you mean 'data'\?"):
        load("date/more/x.json", "hotpotqa")
    with pytest.raises(DataError, match=r"there is no file .*data/x\.jsonl"):
        load("data/x.jsonl", "hotpotqa")  # has the form owner/name, but the suffix of a file


@pytest.mark.parametrize("path", ["mine.jsonl", "mine.jsonl/part.jsonl"])
def test_a_link_that_leads_nowhere_says_so(load, tmp_path, path):
    (tmp_path / "mine.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(DataError, match=r"mine\.jsonl is a link to gone\.jsonl, which is not there") as caught:
        load(path, "records")
    assert "Did you mean" not in str(caught.value)


def test_a_folder_that_is_no_saved_data_set_says_what_it_holds(load, write, tmp_path):
    (tmp_path / "data").mkdir()
    write("data/a.jsonl", ROWS)
    with pytest.raises(DataError, match=r"it holds a\.jsonl\. Name a file in it or a pattern such as data/\*\.jsonl"):
        load("data", "records")


def test_a_hub_data_set_needs_a_split(load, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(
        ConfigError, match=r"^sources\.mine\.split: missing; there is no file .*ucinlp/drop.*`split: train`"
    ):
        load("ucinlp/drop", "drop")


def test_a_hub_data_set_that_cannot_be_had_says_so_and_names_the_file_that_is_not_there(load, write, monkeypatch):
    import datasets

    def load_dataset(*_, **__):
        raise ConnectionError("no route")

    write("ucinpl", "")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        load("ucinlp/drop", "drop", split="train")
    assert "'ucinlp/drop' cannot be loaded from the hub (ConnectionError: no route)" in str(caught.value)
    assert "Did you mean 'ucinpl'?" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], r"^s: \[\] is no source; write"),
        ({"format": "records"}, r"^s\.path: missing; a source needs a format and a path"),
        ({"format": "hotpot_qa", "path": "x"}, r"^s\.format: 'hotpot_qa' is unknown; .* Did you mean 'hotpotqa'\?"),
        ({"format": "records", "path": "x", "limt": 3}, r"^s\.limt: no such key; .* Did you mean 'limit'\?"),
        ({"format": "records", "path": "x", "limit": 0}, r"^s\.limit: 0 must be a whole number of at least 1"),
        ({"format": "records", "path": "x", "limit": True}, r"^s\.limit: True must be"),
        ({"format": "records", "path": "x", "where": [1]}, r"^s\.where: \[1\] must map measures to ranges"),
        ({"format": "sythetic", "level": "hard"}, r"^s\.format: 'sythetic' is unknown; .* Did you mean 'synthetic'\?"),
        ({"path": "x.json", "level": 1}, r"^s\.format: missing"),
        ({"format": 7}, r"^s\.format: 7 is no text"),
        ({"format": "records", "path": 7}, r"^s\.path: 7 is no text"),
    ],
)
def test_wrong_entries_name_the_config_path(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_source(spec, "s")


@pytest.mark.parametrize("key", ["subset", "split", "revision"])
def test_keys_of_the_hub_do_not_apply_to_files(load, write, key):
    with pytest.raises(ConfigError, match=rf"^sources\.mine\.{key}: applies to hub data sets, but .*mine\.jsonl"):
        load(write("mine.jsonl", ROWS), "records", **{key: "train"})


# wrong layouts, broken files


@pytest.mark.parametrize(
    ("format", "rows", "looks"),
    [
        ("hotpotqa", [MUSIQUE], "musique"),
        ("musique", [HOTPOT], "hotpotqa"),
        ("records", [MUSIQUE], "musique"),
        ("drop", [HOTPOT], "hotpotqa"),
        ("hotpotqa", [{"query": "?", "query_id": 1, "passages": [], "answers": []}], "ms_marco"),
        ("musique", [{"query_id": "1", "passage": "x", "question": "?", "answers_spans": {}}], "drop"),
        ("ms_marco", ROWS, "records"),
    ],
)
def test_the_columns_of_another_format_are_recognised(load, write, format, rows, looks):
    with pytest.raises(DataError) as caught:
        load(write("rows.jsonl", rows), format)
    message = str(caught.value)
    assert f"rows.jsonl:1: the columns here are {', '.join(rows[0])}, but format {format!r} needs" in message
    assert f"These columns look like format {looks!r}; write `format: {looks}`." in message


@pytest.mark.parametrize(
    ("format", "file", "looks"),
    [
        ("hotpotqa", DROP, "drop"),
        ("records", MARCO, "ms_marco"),
        ("drop", MARCO, "ms_marco"),
        ("ms_marco", DROP, "drop"),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_file_of_another_format_is_recognised(load, write, format, file, looks, indent):
    with pytest.raises(DataError, match=rf"is in the original layout of format '{looks}', not of '{format}'"):
        load(write("file.json", json.dumps(file, indent=indent)), format)


def test_columns_of_no_known_format_are_listed_with_what_is_missing(load, write):
    row = {"id": 1, "question": "?", "anwser": "a", "paragraphs": []}
    with pytest.raises(DataError) as caught:
        load(write("rows.jsonl", [row]), "musique")
    assert str(caught.value).endswith(
        "rows.jsonl:1: the columns here are id, question, anwser, paragraphs, but format 'musique' needs id, question, "
        "answer, paragraphs. Missing: answer. Did you mean 'anwser'?"
    )


def test_a_later_row_without_a_column_stops_with_its_place(load, write):
    lacking = {key: value for key, value in HOTPOT.items() if key != "answer"}
    with pytest.raises(DataError, match=r"rows\.jsonl:3: the columns here .* Missing: answer"):
        load(write("rows.jsonl", [HOTPOT, HOTPOT, lacking]), "hotpotqa")
    with pytest.raises(DataError, match=r"rows\.json: row 3: the columns here .* Missing: answer"):
        load(write("rows.json", [HOTPOT, HOTPOT, lacking]), "hotpotqa")


@pytest.mark.parametrize(
    "change", [{"context": "text"}, {"context": [["T"]]}, {"supporting_facts": [["T", "one"]]}, {"question": None}]
)
def test_columns_of_another_shape_name_the_row(load, write, change):
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: this row has the columns of format 'hotpotqa' but not its shape"
    ):
        load(write("rows.jsonl", [{**HOTPOT, "context": [["T", ["S."]]], **change}]), "hotpotqa")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"a": 1}\n\n{"a": \n', r"x\.jsonl:1: the columns here are a"),
        ("x.jsonl", '{"question": "?", "golds": "a", "context": "b"}\n\n{"a": \n', r"x\.jsonl:3: broken JSON at column \d+: "),
        ("x.jsonl", "{", r"x\.jsonl:1: broken JSON at column 2: "),
        ("x.jsonl", "7\n", r"x\.jsonl:1: the row is 7 \(int\), but must be an object"),
        ("x.jsonl", b'{"question": "\xff"}\n', r"x\.jsonl:1: not UTF-8 text"),
        ("x.jsonl", '{"a": ' + "[" * 100_000, r"x\.jsonl:1: this JSON cannot be read: "),
        ("x.jsonl", "", r"x\.jsonl: the file is empty"),
        ("x.json", " \n ", r"x\.json: the file is empty"),
        ("x.json", "[]", r"sources\.mine: no row of .*x\.json is left to train on; read 0, kept 0"),
        ("x.json", '[\n{"question": "?", "golds": "a", "context": "b"}\n{"a": 1}]', r"x\.json:3: broken JSON: after array element"),
        ("x.json", '[\n{"question": "?", "golds": "a", "context": "b"},\n{"a": ', r"x\.json:3: broken JSON: the file ends in the middle"),
        ("x.json", '[\n{"question": "?", "golds": "a", "context": "b"}] x', r"x\.json:2: broken JSON: trailing garbage\."),
        ("x.json", b'[\n\n{"question": "\xff"}]', r"x\.json:3: broken JSON: invalid bytes in UTF8 string\."),
        ("x.json", "[7]", r"x\.json: row 1: the row is 7"),
        ("x.parquet", "PAR1", r"x\.parquet: this is no whole parquet file"),
        ("x.jsonl.gz", "no gzip", r"x\.jsonl\.gz: this is no whole gzip file"),
    ],
)  # fmt: skip
def test_broken_files_name_file_and_line(load, write, name, content, message):
    with pytest.raises(DataError, match=message):
        load(write(name, content), "records")


def test_a_gzip_file_that_is_cut_off_is_an_error(load, write):
    import gzip

    whole = gzip.compress("".join(json.dumps({**row, "id": os.urandom(99).hex()}) + "\n" for row in ROWS).encode())
    with pytest.raises(DataError, match=r"x\.jsonl\.gz: this is no whole gzip file"):
        load(write("x.jsonl.gz", whole[: len(whole) // 2]), "records")


def test_a_failed_load_leaves_nothing_behind(load, write, tmp_path):
    path = write("mine.jsonl", ROWS)
    path.write_text(path.read_text() + "broken\n")
    for _ in range(2):
        with pytest.raises(DataError, match=r"mine\.jsonl:11: broken JSON"):
            load(path, "records")
    assert list((tmp_path / "cache").iterdir()) == []


# the cache


def test_a_second_load_converts_nothing(load, write, monkeypatch):
    path = write("mine.jsonl", [*ROWS, {**ROWS[0], "id": "odd", "evidence": "elsewhere"}])
    first = load(path, "records", where={"context_words": [2, None]})
    monkeypatch.setattr(load_module, "_counted", lambda *_: pytest.fail("converted again"))
    monkeypatch.setattr("curricula.difficulty.select", lambda *_: pytest.fail("selected again"))
    second = load(path, "records", where={"context_words": [2, None]})
    assert list(second.records()) == list(first.records())
    assert second.report == first.report
    assert list(second.report.noted) == ["evidence is not in the input"]


def test_an_edited_file_is_read_again_even_with_the_same_size_and_time(load, write):
    path = write("mine.jsonl", ROWS)
    before = path.stat()
    load(path, "records", where={"context_words": [1, 1]})
    path.write_text(path.read_text().replace('"q0"', '"r0"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert ids(load(path, "records", where={"context_words": [1, 1]})) == ["r0"]


def test_an_edited_saved_data_set_is_read_again(load, tmp_path):
    from datasets import Dataset

    for gold in ("a", "b"):
        Dataset.from_list([{**ROWS[0], "golds": gold}]).save_to_disk(tmp_path / "saved")
        assert load("saved", "records").rows[0]["golds"] == [gold]


def test_every_key_that_changes_the_rows_has_its_own_conversion(load, write):
    path = write("mine.jsonl", ROWS)
    assert len(load(path, "records").rows) == 10
    assert len(load(path, "records", limit=3).rows) == 3
    assert len(load(path, "records", limit=4).rows) == 4
    assert len(load(path, "records", where={"context_words": [None, 5]}).rows) == 5
    assert len(load(path, "records", where={"context_words": [None, 6]}).rows) == 6
    assert len(load(path, "records").rows) == 10


def test_the_same_file_in_two_formats_has_two_conversions(load, write):
    hub_row = {"query_id": "h", "passage": "x", "question": "?", "answers_spans": {"spans": ["7"], "types": ["number"]}}
    path = write("both.jsonl", [{**ROWS[0], **hub_row}])
    assert ids(load(path, "records")) == ["q0"]
    assert ids(load(path, "drop")) == ["h"]


def test_changed_code_converts_again(load, write, monkeypatch):
    path = write("mine.jsonl", ROWS)
    load(path, "records")
    monkeypatch.setattr(cache, "_code", lambda: ["another version"])
    monkeypatch.setattr(load_module, "_counted", lambda *_: iter(()))
    with pytest.raises(DataError, match="no row of"):
        load(path, "records")


@pytest.mark.parametrize("damage", ["cut", "emptied", "report lost", "report of other rows"])
def test_a_damaged_conversion_is_made_again(load, write, tmp_path, damage):
    path = write("mine.jsonl", ROWS)
    expected = list(load(path, "records").records())
    (arrow,), (report,) = (list((tmp_path / "cache").glob(pattern)) for pattern in ("*.arrow", "*.json"))
    if damage == "report lost":
        report.unlink()
    elif damage == "report of other rows":
        report.write_text(report.read_text().replace('"kept": 10', '"kept": 9'))
    else:
        content = arrow.read_bytes()
        arrow.unlink()  # a new file, so that the rows mapped above stay whole
        arrow.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    again = load(path, "records")
    assert (list(again.records()), again.report.kept) == (expected, 10)


def test_loads_at_the_same_time_all_end_with_the_whole_file(load, write, tmp_path):
    path = write("mine.jsonl", ROWS * 300)
    barrier, results, errors = threading.Barrier(4), [], []

    def run():
        barrier.wait()
        try:
            loaded = load(path, "records", where={"context_words": [2, 9]})
            results.append((len(list(loaded.records())), loaded.report))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(results) == 4
    assert all(result == results[0] for result in results)
    assert results[0][0] == 2400
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir()) == [".arrow", ".json", ".rows"]


def test_a_cache_that_cannot_be_written_says_what_to_set(write, tmp_path):
    path = write("mine.jsonl", ROWS)
    blocked = write("blocked", "a file where a folder is needed")
    with pytest.raises(DataError, match=r"cannot write here .* set HF_DATASETS_CACHE to a folder"):
        load_source({"format": "records", "path": str(path)}, cache_dir=blocked / "cache")


def test_the_cache_lies_in_the_folder_of_datasets(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    assert cache.default_folder() == tmp_path / "hf" / "rlkit"


# size

_PEAK = """
import resource, sys
from pathlib import Path
from rlkit.data.load import load_source
import datasets, pyarrow

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))

format, small, big, cache = sys.argv[1:]
load_source({"format": format, "path": small}, cache_dir=Path(cache))
before = peak_mb()
rows = load_source({"format": format, "path": big}, cache_dir=Path(cache)).rows
print(len(rows), peak_mb() - before)
"""


_HOTPOT = '{"_id": "%d", "question": "?", "answer": "a", "supporting_facts": [], "context": [["T", ["A sentence."]]]}'
_MARCO = {
    "answers": '["a"]',
    "passages": '[{"is_selected": 1, "passage_text": "A sentence.", "url": "u"}]',
    "query": '"?"',
    "query_id": "%d",
    "wellFormedAnswers": '"[]"',
}


def _write_release(path, format, rows):
    with path.open("w", encoding="utf-8") as stream:
        if format == "hotpotqa":
            stream.write("[" + ",\n".join(_HOTPOT % number for number in range(rows)) + "]")
        else:
            columns = {
                name: ", ".join(f'"{number}": {value.replace("%d", str(number))}' for number in range(rows))
                for name, value in _MARCO.items()
            }
            stream.write("{" + ", ".join(f'"{name}": {{{column}}}' for name, column in columns.items()) + "}")


@pytest.mark.parametrize("format", ["hotpotqa", "ms_marco"])
def test_a_hundred_thousand_rows_are_never_held_as_python_objects(tmp_path, format):
    """Held as records these rows take about 80 MB, read in batches of 1,000 less than 20."""
    for rows in (2_000, 100_000):
        _write_release(tmp_path / f"{rows}.json", format, rows)
    files = [str(tmp_path / f"{rows}.json") for rows in (2_000, 100_000)]
    command = [sys.executable, "-c", _PEAK, format, *files, str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, grown_mb = done.stdout.split()
    assert int(rows) == 100_000
    assert float(grown_mb) < 40
