"""The published tables: complete, consistent with themselves, and refused where a file of them is not."""

from __future__ import annotations

import pytest

from rlkit.data import locomo
from rlkit.errors import ConfigError
from rlkit.evaluation.metrics import METRICS
from rlkit.evaluation.published import published_table, published_tables
from rlkit.evaluation.suite import load_suite
from rlkit.evaluation.summary import OVERALL


def figures(key, column):
    table = published_table(key)
    place = [one.title for one in table.columns].index(column)
    return {row.label: row.figures[place] for row in table.rows}


def test_every_table_names_its_paper_and_known_metrics():
    tables = published_tables()
    assert set(tables) == {
        "care_longbench",
        "care_cofca",
        "care_evidence",
        "time_dialog",
        "locomo",
    }
    for table in tables.values():
        assert "arXiv 2509.13683" in table.source or "arXiv 2512.20092" in table.source
        assert {column.metric for column in table.columns} <= set(METRICS)
        assert len({row.label for row in table.rows}) == len(table.rows)


def test_the_printed_averages_of_longbench_are_the_means_of_their_rows():
    checked = 0
    for row in published_table("care_longbench").rows:
        *parts, average = row.figures
        if average is not None:
            assert sum(parts) / 4 == pytest.approx(average, abs=0.011), row.label
            checked += 1
    assert checked == 10


def test_the_printed_overall_of_time_dialog_is_the_mean_of_all_questions():
    table = published_table("time_dialog")
    counts = [column.n for column in table.columns if column.n]
    assert counts[-1] == sum(counts[:-1]) == 200
    checked = 0
    for row in table.rows:
        parts, overall = row.figures[:11], row.figures[-1]
        if None not in parts:
            weighted = sum(part * n for part, n in zip(parts, counts[:-1], strict=True)) / 200
            assert weighted == pytest.approx(overall, abs=0.05), row.label
            checked += 1
    assert checked == 7


def test_a_localization_figure_is_a_count_of_right_answers():
    for label, figure in figures("time_dialog", "Loc").items():
        assert figure is None or abs(figure * 18 / 100 - round(figure * 18 / 100)) < 0.01, label


def test_the_ablation_of_the_reward_stands_beside_the_full_reward():
    overall = figures("time_dialog", "all")
    assert overall["Qwen2.5-3B, Memory-T1"] == 66.9
    assert overall["Qwen2.5-3B, Memory-T1, no evidence reward"] == 60.8
    assert overall["Qwen2.5-3B, Memory-T1, accuracy reward only"] == 51.9


@pytest.mark.parametrize(("suite", "groups"), [("time_dialog", 3), ("locomo", 0)])
def test_a_table_has_a_column_for_every_group_and_part_of_its_suite(suite, groups):
    named = {column.subset for column in published_table(suite).columns}
    table = load_suite(suite).table
    assert len(table.groups) == groups
    assert {*table.groups, *(part for parts in table.groups.values() for part in parts)} <= named
    assert suite != "locomo" or set(locomo.SUBTASKS.values()) <= named


def test_a_few_figures_are_where_they_belong():
    assert figures("care_longbench", "2Wiki")["Llama-3.1-8B, CARE"] == 75.29
    assert figures("care_longbench", "average")["Qwen2.5-7B, SFT only"] is None
    assert figures("care_cofca", "CofCA")["Qwen2.5-14B, CARE"] == 67.75
    assert figures("care_evidence", "BLEU")["Llama-3.1-8B, CARE"] == 18.39
    assert figures("care_evidence", "ROUGE-L")["Llama-3.1-8B, CARE"] == 0.331
    assert figures("time_dialog", "CTF")["GPT-4, full prompt"] == 50.0
    assert figures("locomo", "overall")["Qwen2.5-3B, Memory-T1, retrieval"] == 36.7
    assert published_table("locomo").columns[-1].subset == OVERALL


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(ConfigError, match=r"has no table 'time_dialogue'.*Did you mean 'time_dialog'"):
        published_table("time_dialogue")


GOOD = """
mine:
  title: My table
  source: my report, page 3
  metric: em
  columns: [{subset: a}, {subset: b, digits: 2}]
  rows: [{model: M, figures: [1, null]}]
"""


def test_a_file_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    table = published_table("mine", path)
    assert [(column.title, column.digits, column.n) for column in table.columns] == [("a", 1, None), ("b", 2, None)]
    assert (table.rows[0].label, table.rows[0].figures) == ("M", (1.0, None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("source: my report, page 3", "sorce: x"), r"'sorce' is unknown here.*Did you mean 'source'"),
        (("  source: my report, page 3\n", ""), r"mine lacks 'source'"),
        (("[1, null]", "[1]"), r"the row M has 1 figures for 2 columns"),
        (("[1, null]", "[1, x]"), r"mine: a value is of the wrong kind .*'x'"),
        (("metric: em", "metric: ern"), r"metric 'ern' is unknown"),
        ((GOOD, "mine: 3"), r"mine is 3, but must be a mapping"),
        ((GOOD, "- mine"), r"holds no tables"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError, match=message):
        published_table("mine", path)
