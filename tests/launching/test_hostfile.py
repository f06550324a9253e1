"""Every wrong line of a hostfile is named with file and line, and a right one is read as DeepSpeed reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.errors import ConfigError
from rlkit.launching.hostfile import parse_hostfile, read_hostfile

GOOD = "# two machines\n\n  node-a   slots=8\nuser@10.0.0.2 slots=4 # the old one\n"


def test_a_hostfile_is_read_as_deepspeed_reads_it() -> None:
    hosts = parse_hostfile(GOOD, "hosts")
    assert [(host.name, host.slots, host.line) for host in hosts] == [("node-a", 8, 3), ("user@10.0.0.2", 4, 4)]
    from deepspeed.launcher.runner import _parse_hostfile

    assert dict(_parse_hostfile(GOOD.splitlines(keepends=True))) == {host.name: host.slots for host in hosts}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("node-b", "there is no slots=N, the number of processes on node-b; write `node-b slots=8`"),
        ("node-b slot=4", "'slot=4' is not slots=N, the number of processes on node-b; write `node-b slots=4`"),
        ("node-b 4", "write `node-b slots=4`"),
        ("node-b slots=four", "'slots=four' is not slots=N"),
        ("node-b slots=-1", "'slots=-1' is not slots=N"),
        ("node-b slots=٤", "is not slots=N"),
        ("node-b slots=0", "slots=0 is not from 1 to 1,024; leave node-b out"),
        ("node-b slots=" + "9" * 5000, "is not slots=N"),
        ("node-b slots=4 max_slots=8", "'max_slots=8' behind slots=4 means nothing"),
        ("-oProxyCommand=x slots=4", "'-oProxyCommand=x' is no machine's name"),
        ("node-[1-4] slots=4", "one machine a line"),
        ("node-b,node-c slots=4", "one machine a line"),
        ("node-a slots=4", "node-a stands in line 1 already"),
    ],
)
def test_a_wrong_line_is_named(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hostfile(f"node-a slots=8\n\n{line}\n", "hosts")
    assert str(caught.value).startswith("hosts:3: ")
    assert said in str(caught.value)


def test_a_file_without_machines_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "hostfile").write_text("# none yet\n")
    with pytest.raises(ConfigError, match="names no machine; write one a line"):
        read_hostfile(tmp_path / "hostfile")
    with pytest.raises(ConfigError, match=r"there is no file .*Did you mean 'hostfile'"):
        read_hostfile(tmp_path / "hostfiles")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        read_hostfile(tmp_path / "binary")
    with pytest.raises(ConfigError, match="cannot be read as a text file"):
        read_hostfile(tmp_path)
