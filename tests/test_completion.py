"""`rlkit completion`: what bash really offers, asked through its own completion variables."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from rlkit.cli import VERBS, main


@pytest.fixture
def script(capsys):
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def offered(script, words, folder):
    """What bash would offer for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_rlkit; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", asked], cwd=folder, capture_output=True, text=True, timeout=30)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.skipif(shutil.which("bash") is None, reason="asks bash")
def test_bash_offers_verbs_options_choices_and_files(script, tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert set(offered(script, ["rlkit", ""], tmp_path)) >= set(VERBS)
    assert offered(script, ["rlkit", "evaluate", "--contr"], tmp_path) == ["--controls"]
    assert offered(script, ["rlkit", "quickstart", "--task", ""], tmp_path) == ["care", "memory_t1"]
    assert offered(script, ["rlkit", "check", "mi"], tmp_path) == ["mine.yaml"]


def test_other_shells_and_none(capsys):
    for shell in ("zsh", "tcsh"):
        assert main(["completion", shell]) == 0
        assert "rlkit" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["completion", "fish"])
    assert ended.value.code == 2
