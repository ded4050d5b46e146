"""The command `stepstream token`: a new bearer token, and what the server's tokens file has of it."""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.security.tokens import make_entry, read_tokens

TOKEN_PREFIX = "sst_"  # noqa: S105
"""By which programs that look for leaked secrets know a token."""


def add_token(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "token",
        help="make a bearer token",
        description="Print a new token, which is told once, and what the server's tokens_file needs to have of it.",
    )
    parser.add_argument("name", metavar="NAME", help="whose it is; the server's log and limits name it")
    parser.add_argument(
        "--scope",
        action="append",
        required=True,
        metavar="SCOPE",
        help="translate, read, manage or load-test, with :PATTERN of models after it, as translate:en-de-*; "
        "one flag for each",
    )
    parser.add_argument("--days", type=int, metavar="N", help="until it expires (default: never)")
    parser.add_argument("--add-to", type=Path, metavar="FILE", help="a JSON tokens_file to put it into")
    parser.set_defaults(run=_token, fail=parser.error)


def _token(arguments: argparse.Namespace) -> int:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    expires = None if arguments.days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(arguments.days)
    try:
        entry = make_entry(arguments.name, token, arguments.scope, expires)
        if arguments.add_to is not None:
            _add(arguments.add_to, entry)
    except ValueError as error:
        arguments.fail(" ".join(str(error).split()))
    print(token)
    if arguments.add_to is None:
        print(json.dumps(entry))
    return 0


def _add(path: Path, entry: dict[str, object]) -> None:
    """Put an entry into a file, which is whole at every moment and readable for its owner alone where it is new."""
    entries: list[object] = []
    mode = 0o600
    if path.exists():
        read_tokens(path)
        entries = json.loads(path.read_text(encoding="utf-8"))["tokens"]
        mode = path.stat().st_mode & 0o777
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder) / path.name
        new.write_text(json.dumps({"tokens": [*entries, entry]}, indent=1) + "\n", encoding="utf-8")
        new.chmod(mode)
        read_tokens(new)
        new.replace(path)
