"""What docs/security.md promises: a config names the code that runs, and nothing else that is read is ever executed."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rlkit import yaml_files
from rlkit.config import parse_config
from rlkit.errors import ConfigError, RlkitError
from rlkit.fields import declared_fields

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for name in ("rewards", "curricula", "rlkit") for path in (ROOT / name).rglob("*.py"))
BUILT_INS = {"eval", "exec", "compile", "__import__", "input", "breakpoint"}
FORBIDDEN_MODULES = {"subprocess", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "pty"}
# Where a module is imported whose name stands in a config or on the command line, or in our own list of verbs.
IMPORTERS = {"rewards/config.py", "rlkit/audit.py", "rlkit/cli.py", "rlkit/completion.py"}
# What starts this toolkit or a launcher of it, from a list of words.
STARTERS = {"rlkit/ablation/running.py", "rlkit/launching/devices.py", "rlkit/launching/supervise.py"}
# Reads back what it has written itself one line before.
UNPICKLERS = {"rewards/testing.py"}


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        yield from (
            (name, node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kind)
        )


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, dotted name of what is called (`yaml.load`), and the call."""
    for name, node in nodes(ast.Call):
        assert isinstance(node, ast.Call)
        yield name, ast.unparse(node.func), node


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 80
    assert sum(1 for _ in calls()) > 3000


def test_no_text_is_run_as_code() -> None:
    assert [(name, called) for name, called, _ in calls() if called in BUILT_INS] == []
    assert {name for name, called, _ in calls() if called.endswith("import_module")} == IMPORTERS


def test_programs_are_started_where_that_is_said_and_by_no_shell() -> None:
    imported = set()
    for name, node in [*nodes(ast.Import), *nodes(ast.ImportFrom)]:
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]  # type: ignore[attr-defined]
        imported |= {(name, module) for module in modules if module.split(".")[0] in FORBIDDEN_MODULES}
    assert imported == {(name, "subprocess") for name in STARTERS}
    starts = ("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn")
    assert [(name, called) for name, called, _ in calls() if called.startswith(starts)] == []
    assert [name for name, _, call in calls() if any(each.arg == "shell" for each in call.keywords)] == []


def test_no_pickle_is_read() -> None:
    reads = ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "np.load", "numpy.load", "pd.read_pickle")
    assert {name for name, called, _ in calls() if called in reads} == UNPICKLERS
    froms = [node for _, node in nodes(ast.ImportFrom) if node.module == "pickle"]  # type: ignore[attr-defined]
    assert froms == []


def test_yaml_is_read_safely() -> None:
    called = [(name, function, call) for name, function, call in calls() if function.startswith("yaml.")]
    loads = [
        (name, function, call) for name, function, call in called if "load" in function and function != "yaml.safe_load"
    ]
    assert [(name, function) for name, function, _ in loads] == [("rlkit/yaml_files.py", "yaml.load")]
    assert [ast.unparse(each.value) for each in loads[0][2].keywords if each.arg == "Loader"] == ["_Loader"]
    assert issubclass(yaml_files._Loader, yaml.SafeLoader)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/module:os"]
)
def test_a_tag_that_would_make_an_object_is_refused(tag: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        yaml_files.read_yaml(f"method: {tag}", "run.yaml")


def test_remote_code_is_trusted_by_name_only() -> None:
    given = [
        (name, ast.unparse(each.value))
        for name, _, call in calls()
        for each in call.keywords
        if each.arg == "trust_remote_code"
    ]
    assert given
    assert not any(value == "True" for _, value in given)
    assert declared_fields("grpo")["trust_remote_code"] is declared_fields("sft")["trust_remote_code"] is False
    values = {
        "method": "grpo",
        "model": {"model_name_or_path": "x"},
        "sources": {"s": {"format": "records", "path": "x"}},
    }
    assert not parse_config(values).setting("trust_remote_code")
    with pytest.raises(ConfigError, match=r"train.trust_remote_code: is 'yes', but must be true or false"):
        parse_config({**values, "train": {"trust_remote_code": "yes"}})


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    from rlkit.generation.weights import window_tokens

    model, trace = tmp_path / "model", tmp_path / "trace"
    model.mkdir()
    (model / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Config: pass\n", encoding="utf-8")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(RlkitError):
        window_tokens(str(model), None, False)
    assert not trace.exists()
