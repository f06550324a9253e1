"""A config file that cannot be read is named in one line that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.config import load_config, parse_config
from rlkit.errors import ConfigError
from rlkit.yaml_files import read_yaml

ODD = {
    "binary": (b"method: grpo\n\x80\x81", r":2: not UTF-8 text \(invalid start byte\); save the file as UTF-8"),
    "utf-16": ("method: grpo".encode("utf-16"), ":1: not UTF-8 text"),
    "list as key": (b"a: 1\n? [a]\n: 1\n", ":2: not readable as YAML: a key is list, but must be text"),
    "mapping as key": (b"a: 1\nb:\n  ? {a: 1}\n  : 1\n", ":3: not readable as YAML: a key is dict"),
    "control character": (b"a: 1\nb: \x07\n", r":2: not readable as YAML: it holds the control character '\\x07'"),
    "nul": (b"a: 1\n\0", r":2: .* control character '\\x00'"),
    "deep list": (b"a: " + b"[" * 20_000, ": not readable as YAML: nested too deeply"),
    "deep mapping": (b"{a: " * 20_000, ": not readable as YAML: nested too deeply"),
    "no date": (b"a: 1\nb: 2024-13-45\n", r":2: not readable as YAML: '2024-13-45' is no value \(month must be"),
    "itself": (b"a: &x [*x]\n", ":1: not readable as YAML: found unconstructable recursive node"),
    "empty": (b"", ": is empty, but a config is a mapping"),
    "comment": (b"# nothing\n", ": is empty, but a config is a mapping"),
    "list": (b"- 1\n", ": holds list, but a config is a mapping"),
    "integer key": (b"1: 2\n", ": 1: no such key"),
}


@pytest.mark.parametrize(("content", "message"), ODD.values(), ids=ODD)
def test_a_file_that_is_no_config_says_why_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"run\.yaml{message}") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_directory_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a directory, but must be a YAML file; name a file in it"):
        load_config(tmp_path)


def test_an_override_is_read_with_the_same_care(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("method: grpo\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"override train\.seed: not readable as YAML: nested too deeply"):
        load_config(path, ["train.seed=" + "[" * 20_000])


def test_a_byte_order_mark_is_no_character_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfmethod: grp\n")
    with pytest.raises(ConfigError, match="method: is 'grp', but must be one of"):
        load_config(path)


@pytest.mark.parametrize("section", ["model", "prompt", "train"])
def test_a_number_as_key_is_no_such_key(section: str) -> None:
    values = {
        "method": "grpo",
        "model": {"model_name_or_path": "m"},
        "sources": {"s": {"format": "records", "path": "x"}},
    }
    with pytest.raises(ConfigError, match=rf"{section}\.7: .*no such"):
        parse_config({**values, section: {7: 1}})


def test_a_merge_key_brings_what_is_not_given() -> None:
    values = read_yaml("a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}", "f")
    assert values == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}}
