"""Seeds are what is counted: means with their spread, paired differences, and no effect claimed without its interval."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from rlkit.ablate import main as ablate
from rlkit.ablation.jobs import evaluation_folder
from rlkit.ablation.settings import parse_ablation
from rlkit.ablation.summary import Figure, as_data, effects, losses, means, t_interval
from rlkit.ablation.tables import tables
from rlkit.evaluation.tables import text

EM = Figure("synthetic", "hard", "full", "em")
FIGURES = {"sft": [0.5, 0.6, 0.4], "full": [0.9, 0.95, 0.9], "bare": [0.91, 0.93, 0.92], "worse": [0.2, 0.65, 0.4]}


@pytest.fixture
def ablation():
    sft = {"config": "configs/quickstart/sft.yaml", "from": "base"}
    return parse_ablation(
        {
            "seeds": [1, 2, 3],
            "evaluate": "synthetic",
            "config": "configs/quickstart/grpo.yaml",
            "from": "sft",
            "before": {"base": {"world": "care"}, "sft": sft},
            "variants": {"full": {}, "bare": {}, "worse": {}},
            "differences": {"GRPO": ["full", "sft"], "grounding": ["full", "bare"]},
        }
    )


@pytest.fixture
def values():
    return {(name, seed): {EM: figures[seed - 1]} for name, figures in FIGURES.items() for seed in (1, 2, 3)}


def test_an_effect_is_the_mean_of_paired_differences_with_their_interval(ablation, values):
    gain, grounding = effects(ablation, values)
    ours = np.subtract(FIGURES["full"], FIGURES["sft"])
    expected = stats.ttest_rel(FIGURES["full"], FIGURES["sft"]).confidence_interval(0.95)
    assert gain.difference == pytest.approx(ours.mean())
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high))
    assert gain.claimed
    assert not grounding.claimed
    assert dict(gain.by_seed) == pytest.approx({1: 0.4, 2: 0.35, 3: 0.5})


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [low <= 0.3 <= high for low, high in (t_interval(list(rng.normal(0.3, 1, 5))) for _ in range(2000))]
    assert 0.935 <= np.mean(held) <= 0.965


def test_equal_differences_claim_nothing(ablation, values):
    """Three seeds at 0 (or all at 1) know no more of the fourth than one does."""
    values = {key: {EM: 1.0 if key[0] == "full" else 0.0} for key in values}
    assert not any(effect.claimed for effect in effects(ablation, values))


def test_a_variant_lacking_a_seed_is_compared_on_those_it_has(ablation, values):
    del values["bare", 2]
    (mean,) = (one for one in means(ablation, values) if one.variant == "bare")
    assert sorted(mean.by_seed) == [1, 3]
    assert sorted(effects(ablation, values)[1].by_seed) == [1, 3]
    assert "seed2/bare" in as_data(ablation, values)["missing"]
    assert "not measured: bare, seed 2" in " ".join(text(tables(ablation, values, ["em"])[0]).split())


def test_what_unlearned_something_is_listed_and_counted_all_the_same(ablation, values):
    (loss,) = losses(ablation, values)
    assert (loss.variant, loss.seed, loss.before, loss.after) == ("worse", 1, 0.5, 0.2)
    (mean,) = (one for one in means(ablation, values) if one.variant == "worse")
    assert mean.mean == pytest.approx(np.mean(FIGURES["worse"]))
    printed = "\n".join(map(text, tables(ablation, values, ["em"])))
    assert "0.917 ±0.029" in printed
    assert "Ended below the model they started from" in printed


def test_figures_are_read_from_finished_evaluations_alone(tmp_path, capsys, monkeypatch):
    """Through the command, over evaluations that `rlkit evaluate` wrote."""
    import argparse

    import yaml

    from rlkit.cli import main

    rows = [
        {
            "id": str(n),
            "question": "q?",
            "context": ["a b c d."],
            "golds": ["b"],
            "completion": "b" if n % 2 else "no",
        }
        for n in range(4)
    ]
    for name, part in (("rows", rows), ("said", rows)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    suite = tmp_path / "mine.yaml"
    source = {"format": "records", "path": str(tmp_path / "rows.jsonl")}
    suite.write_text(yaml.safe_dump({"title": "Mine", "data": {"rows": source}, "metrics": ["em", "f1"]}))
    evaluate = tmp_path / "evaluate.yaml"
    evaluate.write_text(yaml.safe_dump({"suites": {str(suite): {}}}))
    values = {
        "seeds": [1, 2],
        "output_dir": str(tmp_path / "out"),
        "evaluate": str(evaluate),
        "config": "configs/quickstart/grpo.yaml",
        "before": {"base": {"world": "care"}},
        "from": "base",
        "variants": {"full": {}, "bare": {}},
    }
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(values))
    ablation = parse_ablation(values)
    for seed in (1, 2):
        for name in ("full", "bare"):
            folder = evaluation_folder(ablation, seed, name)
            assert (
                main(
                    [
                        "evaluate",
                        "--predictions",
                        str(tmp_path / "said.jsonl"),
                        "--suite",
                        str(suite),
                        "--out",
                        str(folder),
                    ]
                )
                == 0
            )
            if (name, seed) != ("bare", 2):
                folder.with_name(f"{folder.name}.done.json").write_text("{}")
    capsys.readouterr()
    given = {"overrides": [], "seeds": None, "only": [], "jobs": None, "metrics": None, "dry_run": False, "show": True}
    assert ablate(argparse.Namespace(config=path, json=True, **given)) == 0
    data = json.loads(capsys.readouterr().out)
    found = {(one["variant"], one["figure"]["metric"]): one["by_seed"] for one in data["means"]}
    assert found["full", "em"] == {"1": 0.5, "2": 0.5}
    assert found["bare", "em"] == {"1": 0.5}
    assert "seed2/bare" in data["missing"]
