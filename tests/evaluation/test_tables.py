"""Tables: what was measured beside what was published, never one taken for the other, in text, Markdown and JSON."""

from __future__ import annotations

import json

import pytest

from rlkit.evaluation.metrics import METRICS, UNITS, unit_of
from rlkit.evaluation.published import published_table
from rlkit.evaluation.summary import Cell, Difference, Spread
from rlkit.evaluation.tables import (
    cells_table,
    differences_table,
    headline_table,
    headline_title,
    markdown,
    spreads_table,
    text,
)


def cell(subset, mean, metric="f1", n=150, context="full", low=0.3, high=0.6, suite="longbench"):
    return Cell(suite, subset, context, metric, mean, n, 0, low, high)


LONGBENCH = [
    cell("multifieldqa_en", 0.4567),
    cell("hotpotqa", 0.5, n=200),
    cell("2wikimqa", 0.25, n=200),
    cell("musique", 1.0, n=200, low=None, high=None),
    cell("overall", 0.55167, n=750),
]


@pytest.fixture
def longbench():
    return headline_table("LongBench", {"mine": LONGBENCH}, "f1", published_table("care_longbench"))


def test_every_row_says_where_it_comes_from(longbench):
    assert longbench.header[:2] == ("model", "source")
    sources = {row[0]: row[1] for row in longbench.body}
    assert sources.pop("mine") == "measured"
    assert set(sources.values()) == {"published"}
    assert len(sources) == 13


def test_measured_figures_have_counts_and_intervals_and_the_papers_unit(longbench):
    mine = longbench.body[0]
    assert mine[2] == "45.67\n[30.00, 60.00]"
    assert mine[5] == "100.00"
    assert longbench.header[2:] == (
        "MFQA (n=150)",
        "Hotpot (n=200)",
        "2Wiki (n=200)",
        "MuSiQue (n=200)",
        "average (n=750)",
    )
    care = next(row for row in longbench.body if row[0] == "Llama-3.1-8B, CARE")
    assert care == ("Llama-3.1-8B, CARE", "published", "49.94", "63.09", "75.29", "51.00", "59.83")
    only_sft = next(row for row in longbench.body if row[0] == "Qwen2.5-7B, SFT only")
    assert only_sft[-1] == "-"


def test_the_notes_name_the_source_and_another_test_set(longbench):
    assert any("arXiv 2509.13683" in note and "no interval is printed" in note for note in longbench.notes)
    assert not any("Not the same test set" in note for note in longbench.notes)
    smaller = headline_table("x", {"mine": [cell("hotpotqa", 0.5, n=60)]}, "f1", published_table("care_longbench"))
    assert any("Not the same test set" in note and "Hotpot 200" in note for note in smaller.notes)
    assert smaller.header[3] == "Hotpot (measured n=60)"


def test_few_rows_are_told():
    def notes(n):
        return " ".join(headline_table("x", {"mine": [cell("", 0.5, n=n)]}, "f1").notes)

    assert "too narrow" in notes(29)
    assert "too narrow" not in notes(30)


def test_json_holds_the_same_figures_with_source_count_and_scale(longbench):
    data = json.loads(json.dumps(longbench.data))
    mine, *published = data["rows"]
    assert (mine["source"], mine["figures"][0]["n"]) == ("measured", 150)
    assert mine["figures"][0]["value"] == pytest.approx(45.67)
    assert mine["figures"][0]["low"] == pytest.approx(30.0)
    assert all(row["source"] == "published" and "n" not in row["figures"][0] for row in published)
    assert data["columns"][0]["scale"] == 100.0
    assert "arXiv 2509.13683" in data["published"]["source"]


def test_rouge_keeps_the_papers_scale():
    cells = [cell("hotpotqa", 0.1839, "evidence_bleu_corpus", 200), cell("hotpotqa", 0.331, "evidence_rouge_l", 200)]
    table = headline_table("x", {"mine": cells}, "evidence_bleu_corpus", published_table("care_evidence"))
    assert table.body[0][2:] == ("18.39\n[30.00, 60.00]", "0.331\n[0.300, 0.600]")
    llama = next(row for row in table.body if row[0] == "Llama-3.1-8B, CARE")
    assert llama[2:] == ("18.39", "0.331")


def test_a_suite_of_one_part_meets_the_papers_only_column():
    table = headline_table("x", {"mine": [cell("2hop_qa", 0.6, suite="cofca")]}, "f1", published_table("care_cofca"))
    assert table.body[0][2].startswith("60.00")


def test_one_measured_subset_stands_in_its_own_column_alone():
    one = headline_table("x", {"mine": [cell("hotpotqa", 0.6, n=200)]}, "f1", published_table("care_longbench"))
    assert one.body[0][2:] == ("-", "60.00\n[30.00, 60.00]", "-", "-", "-")
    cells = [cell("Timeline", 0.5, "time_dialog", 6)]
    task = headline_table("x", {"mine": cells}, "time_dialog", published_table("time_dialog"))
    assert {row[0]: row[1] for row in task.body[1:] if row[1] != "-"} == {"TL (n=6)": "50.0\n[30.0, 60.0]"}
    own = headline_table("x", {"mine": [cell("my_own_files", 0.6)]}, "f1", published_table("care_longbench"))
    assert set(own.body[0][2:]) == {"-"}


def test_parts_that_no_paper_prints_have_columns_and_a_suite_without_them_still_its_overall_figure():
    def column(*cells):
        table = headline_table("x", {"mine": cells}, "locomo_f1", published_table("locomo"))
        return {row[0].partition(" (")[0]: row[1].partition("\n")[0] for row in table.body[1:] if row[1] != "-"}

    parts = [cell(part, 0.5, "locomo_f1") for part in ("multi_hop", "temporal")]
    assert column(parts[0]) == {"multi-hop": "50.0"}
    both = column(*parts, cell("overall", 0.25, "locomo_f1"))
    assert both == {"multi-hop": "50.0", "temporal": "50.0", "overall": "25.0"}
    assert column(cell("locomo", 0.5, "locomo_f1")) == {"overall": "50.0"}


def test_a_mean_of_fewer_subsets_than_the_papers_is_not_printed_beside_it():
    fewer = [one for one in LONGBENCH if one.subset != "2wikimqa"]
    table = headline_table("x", {"mine": fewer}, "f1", published_table("care_longbench"))
    assert [figure.partition("\n")[0] for figure in table.body[0][2:]] == ["45.67", "50.00", "-", "100.00", "-"]


def test_a_wide_table_lists_its_columns_downwards():
    cells = [
        cell(column.subset, 0.5, "time_dialog", column.n or 50) for column in published_table("time_dialog").columns
    ]
    table = headline_table("Time-Dialog", {"mine": cells}, "time_dialog", published_table("time_dialog"))
    assert table.header[:3] == ("model", "mine", "GPT-4, full prompt")
    assert table.body[0][:3] == ("source", "measured", "published")
    assert [row[0] for row in table.body[1:4]] == ["Loc (n=18)", "DC (n=23)", "Comp (n=15)"]
    assert table.body[-1][:3] == ("all (n=200)", "50.0\n[30.0, 60.0]", "64.8")


def test_several_models_and_contexts_have_a_row_each_with_their_own_counts():
    runs = {"a": [cell("", 0.5), cell("", 0.25, context="bm25", n=149)], "b": [cell("", 0.75)]}
    table = headline_table("x", runs, "f1")
    assert table.header == ("model", "source", "F1")
    assert [row[0] for row in table.body] == ["a (full)", "a (bm25)", "b"]
    assert table.body[1][2] == "25.0 (n=149)\n[30.0, 60.0]"


def test_spreads_over_runs_are_no_bootstrap_intervals():
    spreads = [Spread("s", "", "full", "f1", 0.5, 0.1, 0.4, 0.6, 3, 200)]
    table = headline_table("x", {"mine": spreads}, "f1")
    assert table.body[0][2] == "50.0 ± 10.0\n40.0 to 60.0, 3 runs"
    assert "bootstrap" not in " ".join(table.notes)
    assert spreads_table("x", spreads).body[0][3:] == ("50.0", "10.0", "40.0", "60.0", "3", "200")


def test_all_figures_of_a_run_with_what_does_not_apply():
    cells = [Cell("s", "a", "full", "evidence_recall", None, 0, 7, None, None), cell("b", 0.5, n=12_345)]
    table = cells_table("x", cells)
    assert table.body[0] == ("a", "full", "evidence recall", "-", "-", "0", "7")
    assert table.body[1][3:] == ("50.0", "[30.0, 60.0]", "12,345", "0")
    assert table.data["source"] == "measured"


def test_differences_are_signed_and_marked_where_the_interval_excludes_zero():
    rows = [
        Difference("s", "a", "full", "f1", 0.5, 0.6, 0.1, 40, 0, 3, 0.02, 0.18),
        Difference("s", "b", "full", "f1", 0.5, 0.4, -0.1, 40, 0, 0, -0.3, 0.1),
        Difference("s", "c", "full", "f1", 0.5, 0.5, 0.0, 1, 0, 0, None, None),
    ]
    table = differences_table("x", rows, "base", "grpo")
    assert table.header[3:6] == ("base", "grpo", "grpo - base")
    assert [row[5:7] for row in table.body] == [
        ("+10.0 *", "[+2.0, +18.0]"),
        ("-10.0", "[-30.0, +10.0]"),
        ("+0.0", "-"),
    ]
    assert table.body[0][7:] == ("40", "0", "3")


def test_markdown_escapes_names_and_keeps_one_line_a_row(longbench):
    table = headline_table("a*b", {"run|1_[x]": LONGBENCH}, "f1")
    lines = markdown(table).splitlines()
    assert lines[0] == r"**a\*b**"
    assert lines[4].startswith(r"| run\|1\_[x] | measured | 45.7 [30.0, 60.0] |")
    wide = markdown(longbench).splitlines()
    assert {line.count(" | ") for line in wide if line.startswith("| ")} == {6}
    assert wide[3] == "|---|---|--:|--:|--:|--:|--:|"


def test_text_shows_everything_and_takes_no_name_for_markup(longbench):
    shown = text(longbench)
    assert all(part in shown for part in ("measured", "published", "[30.00, 60.00]", "75.29"))
    assert "[bold]x[/bold]" in text(headline_table("t", {"[bold]x[/bold]": LONGBENCH}, "f1"))
    assert all(len(line) <= 80 for line in text(longbench, width=80).splitlines())


def test_a_table_that_is_too_wide_is_printed_in_parts_without_breaking_an_interval():
    columns = published_table("time_dialog").columns
    runs = {f"model {number}": [cell(column.subset, 0.5, "time_dialog") for column in columns] for number in range(9)}
    shown = text(headline_table("T", runs, "time_dialog", published_table("time_dialog")), width=100).splitlines()
    assert all(len(line) <= 100 for line in shown)
    assert sum(line.count("[30.0, 60.0]") for line in shown) == 9 * len(columns)
    assert sum("│ source" in line for line in shown) >= 2
    assert sum(line.count("measured") for line in shown if "source" in line) == 9
    assert sum(line.count("published") for line in shown if "source" in line) == 9


def test_names_stand_on_one_line_and_no_column_is_lost_where_titles_are_long():
    table = published_table("time_dialog")
    runs = {"td_full": [cell(column.subset, 0.5, "time_dialog", n=13) for column in table.columns]}
    shown = text(headline_table("T", runs, "time_dialog", table), width=160).splitlines()
    assert all(len(line) <= 160 for line in shown)
    assert all("(measured n=13)" in line or "(n=13)" in line for line in shown if "n=13" in line)
    assert sum(line.count("published") for line in shown if "│ source" in line) == len(table.rows)


def test_the_terminal_says_how_wide_a_table_may_be(longbench, monkeypatch):
    for columns, most in (("90", 90), ("10", 60)):
        monkeypatch.setenv("COLUMNS", columns)
        assert max(map(len, text(longbench).splitlines())) <= most


def test_a_title_names_the_metric_unless_the_columns_do():
    assert headline_title("LongBench", "em", published_table("care_longbench")) == "LongBench: F1"
    assert headline_title("Mine", "session_recall") == "Mine: session recall"
    assert headline_title("Quotes", "evidence_bleu_corpus", published_table("care_evidence")) == "Quotes"


def test_every_metric_has_one_unit():
    assert set(UNITS) <= set(METRICS)
    assert {unit_of(name).scale for name in METRICS} == {1.0, 100.0}
