"""`rlkit completion SHELL`: a script that lets the shell complete verbs, options, choices and files.

The script is made once and asks no Python while one types; make it again after an update.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from rlkit.errors import ConfigError

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def main(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise ConfigError("rlkit completion: needs shtab; pip install shtab.") from error
    print(shtab.complete(whole_parser(), args.shell))
    return 0


class _Completing(argparse.ArgumentParser):
    """A parser whose arguments that hold text without choices complete as files."""

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        import shtab

        action = super().add_argument(*names, **options)
        if action.type in (None, str, Path) and action.nargs != 0 and not action.choices:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        return action


def whole_parser() -> argparse.ArgumentParser:
    """All verbs as one parser."""
    from rlkit.cli import VERBS

    parser = _Completing(prog="rlkit")
    verbs = parser.add_subparsers(dest="verb", parser_class=_Completing)
    for verb, (module, line, _) in VERBS.items():
        importlib.import_module(module).add_arguments(verbs.add_parser(verb, help=line))
    return parser
