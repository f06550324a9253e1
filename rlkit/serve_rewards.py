"""`rlkit serve-rewards`: the reward of a config over HTTP, for frameworks that cannot import it.

Knows the arguments and which addresses are safe; the server is `rlkit.serving`.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.presets import PRESETS
from rlkit.errors import ConfigError, RlkitError
from rlkit.score import MAX_WORKERS_A_CORE, load_reward
from rlkit.streams import cores

if TYPE_CHECKING:
    from rlkit.serving.server import Scorer

TOKEN_VARIABLE = "RLKIT_SERVE_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rewards", required=True, help=f"{', '.join(PRESETS)}, or a YAML file with a section rewards:"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8300, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes that score (default: one a core)")
    parser.add_argument(
        "--token-file", type=Path, help=f"file with the bearer token (or set {TOKEN_VARIABLE}); needed beyond loopback"
    )
    parser.add_argument("--no-token", action="store_true", help="let anyone ask who can reach the address")
    parser.add_argument(
        "--max-requests",
        type=int,
        default=64,
        help="requests accepted at a time, others get 429 (default: %(default)s)",
    )
    parser.add_argument("--max-body-mb", type=int, default=32, help="largest body (default: %(default)s)")
    parser.add_argument("--max-rows", type=int, default=10_000, help="most rows a request (default: %(default)s)")
    parser.add_argument(
        "--deadline", type=float, default=60.0, help="seconds to score a request in (default: %(default)s)"
    )
    parser.add_argument(
        "--client-timeout", type=float, default=30.0,
        help="seconds for a client to send headers, to send its body, to take the answer (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--unscored", type=float, help="what /openrlhf gives a row to which no part applies (default: an error)"
    )


def main(args: argparse.Namespace) -> int:
    reward = load_reward(args.rewards)
    token = _token(args)
    check_address(args.host, token, args.no_token)
    workers = _count(cores() if args.workers is None else args.workers, "--workers", MAX_WORKERS_A_CORE * cores())
    try:
        from rlkit.serving.server import Limits, serve
    except ImportError as error:
        raise RlkitError(f"{error}; the server needs: pip install 'grounded-rl[serve]'") from error
    for name in ("max_requests", "max_body_mb", "max_rows", "deadline", "client_timeout"):
        if not getattr(args, name) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)}, but must be above 0.")
    limits = Limits(
        args.max_requests, args.max_body_mb * 1024 * 1024, args.max_rows, args.deadline, args.client_timeout
    )

    def ready(scorer: Scorer, port: int) -> None:
        guarded = "with a token" if token else "without a token"
        host = f"[{args.host}]" if ":" in args.host else args.host
        names = ", ".join(reward.parts)
        print(f"{names}: http://{host}:{port}/score, {workers} processes, {guarded}; Ctrl-C ends", flush=True)

    asyncio.run(
        serve(reward, host=args.host, port=args.port, workers=workers, limits=limits, token=token,
              unscored=args.unscored, ready=ready)
    )  # fmt: skip
    return 0


def check_address(host: str, token: str | None, no_token: bool) -> None:
    """Refuse an address that others can reach unless a token guards it, or the user says that none is needed.

    >>> check_address("127.0.0.1", None, False)
    >>> check_address("0.0.0.0", None, False)
    Traceback (most recent call last):
    rlkit.errors.ConfigError: --host 0.0.0.0 can be reached from other machines, and anyone there could use the server: \
give it a token (--token-file FILE), or say --no-token where something else keeps strangers out.
    """
    if token is not None or no_token or _is_loopback(host):
        return
    raise ConfigError(
        f"--host {host} can be reached from other machines, and anyone there could use the server: give it a token "
        "(--token-file FILE), or say --no-token where something else keeps strangers out."
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(args: argparse.Namespace) -> str | None:
    where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE)
    if args.token_file is not None:
        where = str(args.token_file)
        try:
            token = args.token_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--token-file {where}: cannot be read: {error}.") from error
    if token is None:
        return None
    if args.no_token:
        raise ConfigError(f"--no-token stands beside the token in {where}; leave one of them out.")
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{where}: a token is one word of printable ASCII characters, but this one is not.")
    return token


def _count(value: int, name: str, most: int) -> int:
    if not 1 <= value <= most:
        raise ConfigError(f"{name} is {value}, but must be from 1 to {most} on this machine of {cores()} cores.")
    return value
