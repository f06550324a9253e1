"""The hostfile: which machines take part in a run, and how many processes each of them starts.

One `NAME slots=N` a line, `#` begins a comment: the layout that DeepSpeed and MPI read. Contacts no machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rlkit.errors import ConfigError, nearest

MAX_SLOTS = 1024
# What ssh and pdsh take for one machine: no option (-), no list (,), no range ([).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


@dataclass(frozen=True)
class Host:
    """One machine of a hostfile: its name or address, its processes, and the line that names it."""

    name: str
    slots: int
    line: int


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """The machines in a hostfile, in its order; raises `ConfigError` with `file:line` for the first wrong line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = nearest(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise ConfigError(f"--hosts: there is no file {str(path)!r} (from {Path.cwd()}).{near}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--hosts: {str(path)!r} cannot be read as a text file: {error}.") from error
    return parse_hostfile(text, str(path))


def parse_hostfile(text: str, where: str) -> tuple[Host, ...]:
    """The machines in the text of a hostfile.

    >>> parse_hostfile("node-a slots=8\\nnode-b slots=8  # same rack", "hosts")
    (Host(name='node-a', slots=8, line=1), Host(name='node-b', slots=8, line=2))
    >>> parse_hostfile("node-a slot=8", "hosts")
    Traceback (most recent call last):
    rlkit.errors.ConfigError: hosts:1: 'slot=8' is not slots=N, the number of processes on node-a; write `node-a slots=8`.
    """
    hosts: dict[str, Host] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        host = _host(words, number, f"{where}:{number}")
        if host.name in hosts:
            raise ConfigError(
                f"{where}:{number}: {host.name} stands in line {hosts[host.name].line} already, and a machine is named "
                "once; add up its slots in one line."
            )
        hosts[host.name] = host
    if not hosts:
        raise ConfigError(f"{where}: names no machine; write one a line, e.g. `node-a slots=8`.")
    return tuple(hosts.values())


def _host(words: list[str], number: int, where: str) -> Host:
    name, *rest = words
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r:.80} is no machine's name: letters, digits and . _ - @, a letter or digit first, one "
            "machine a line."
        )
    given = rest[0] if rest else ""
    key, _, count = given.partition("=")
    number_given = "".join(c for c in given if c in "0123456789") or "8"
    if key != "slots" or not re.fullmatch(r"[0-9]{1,9}", count):
        said = f"{given!r:.80} is not" if given else "there is no"
        raise ConfigError(
            f"{where}: {said} slots=N, the number of processes on {name}; write `{name} slots={number_given[:4]}`."
        )
    if not 1 <= int(count) <= MAX_SLOTS:
        raise ConfigError(f"{where}: slots={count} is not from 1 to {MAX_SLOTS:,}; leave {name} out if it has none.")
    if len(rest) > 1:
        raise ConfigError(
            f"{where}: {' '.join(rest[1:])!r:.80} behind slots={count} means nothing to the launchers; take it out."
        )
    return Host(name, int(count), number)
