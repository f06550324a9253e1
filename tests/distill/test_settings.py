"""The config of `rlkit distill`: every wrong key and value is named; what is shipped and shown is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlkit import cli
from rlkit.distill.settings import TOLERATE, load_settings, parse_settings
from rlkit.errors import ConfigError
from rlkit.generation.endpoint import Endpoint
from rlkit.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
STAGE = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
VALUES = {"sources": {"s": {"format": "records", "path": "x"}}, "reasoner": STAGE, "injector": STAGE}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resoner": STAGE}, r"resoner: no such key. Did you mean 'reasoner'\?"),
        ({"sources": {}}, "sources: none given"),
        ({"sources": {"s": {"path": "x"}}}, "sources.s: .* needs a format"),
        ({"reasoner": None}, "reasoner: has neither of base_url"),
        ({"reasoner": {**STAGE, "modle": "m"}}, r"reasoner\.modle: .*Did you mean 'model'"),
        ({"injector": {**STAGE, "concurrency": 0}}, "injector: concurrency is 0"),
        ({"injector": {**STAGE, "sampling": [1]}}, "injector.sampling: "),
        ({"injector": {**STAGE, "price": {"promt": 1}}}, r"injector\.price\.promt: .*Did you mean 'prompt'"),
        ({"injector": {**STAGE, "price": {"prompt": -1}}}, r"injector\.price\.prompt: is -1"),
        ({"injector": {**STAGE, "instructions": " "}}, r"injector\.instructions: is ' '"),
        ({"min_answer_f1": 0}, "min_answer_f1: is 0, but must be a share"),
        ({"min_similarity": True}, "min_similarity: is True"),
        ({"system": 3}, "system: is 3"),
        ({"preview_rows": -1}, "preview_rows: is -1"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"config: {message}"):
        parse_settings({**VALUES, **changes})


def test_saved_settings_are_the_same_settings() -> None:
    parsed = parse_settings({**VALUES, "reasoner": {**STAGE, "price": {"prompt": 2}, "instructions": "Think."}})
    assert parse_settings(parsed.to_dict()) == parsed


def test_an_endpoint_lets_some_failures_pass_unless_the_config_says_how_many() -> None:
    found = [
        parse_settings({**VALUES, "reasoner": {**STAGE, **more}}).reasoner.open("reasoner")
        for more in ({}, {"tolerate": 0})
    ]
    assert [model.tolerate for model in found if isinstance(model, Endpoint)] == [TOLERATE, 0]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/distill").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_are_valid_and_begin_with_their_command(path: Path) -> None:
    load_settings(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# rlkit distill configs/distill/{path.name}"


def test_the_config_that_the_documentation_shows() -> None:
    page = (ROOT / "docs/sft_data.md").read_text(encoding="utf-8")
    blocks = [read_yaml(block, "page") for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)]
    shown = parse_settings(next(block for block in blocks if "reasoner" in block))
    assert shown.reasoner.price["completion"] == 2.19
    assert (shown.min_answer_f1, shown.preview_rows) == (1.0, 30)


def test_overrides_and_a_missing_file(tmp_path: Path) -> None:
    path = ROOT / "configs/distill/hotpotqa.yaml"
    assert load_settings(path, ["sources.hotpotqa.limit=5"]).sources["hotpotqa"]["limit"] == 5
    with pytest.raises(ConfigError, match=r"no such config file. Did you mean 'hotpotqa.yaml'\?"):
        load_settings(path.with_name("hotpotq.yaml"))


def test_the_verb_reports_a_wrong_config_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("sourcs: {}\n", encoding="utf-8")
    assert cli.main(["distill", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: sourcs: no such key. Did you mean 'sources'?")
