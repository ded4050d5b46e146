"""The file of the tokens, what it may hold, and the command that makes what it holds."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from service.cli import main
from service.errors import UnauthenticatedError
from service.security.scopes import parse_scope
from service.security.tokens import LEEWAY_S, Token, Tokens, read_tokens


@pytest.mark.fault(62)
def test_a_token_is_taken_for_a_minute_longer_than_it_says() -> None:
    """Taken within 60 s after it has expired, for clocks that differ, and not after that."""
    digest = hashlib.sha256(b"secret").digest()
    times = iter((999.0, 1_000.0, 1_000.0 + LEEWAY_S, 1_000.0 + LEEWAY_S + 0.001))
    tokens = Tokens([Token("a", digest, (), expires_at=1_000.0)], clock=lambda: next(times))
    for _ in range(3):
        assert tokens.find("Bearer secret").name == "a"
    with pytest.raises(UnauthenticatedError):
        tokens.find("Bearer secret")
    assert LEEWAY_S == 60.0


@pytest.mark.parametrize(
    ("scope", "model", "allowed"),
    [
        ("translate", "any", True),
        ("translate:*", "any", True),
        ("translate:en-*", "en-de", True),
        ("translate:en-*", "de-en", False),
        ("translate:en.de", "en-de", False),
        ("translate:a*b*c", "axxbxxc", True),
        ("translate:a*b*c", "axxbxx", False),
        ("read:*", "any", False),
    ],
)
def test_a_scope_allows_what_its_pattern_fits(scope: str, model: str, allowed: bool) -> None:
    assert parse_scope(scope).allows(parse_scope("translate").group, model) is allowed


@pytest.mark.parametrize("text", ["", "write", "translate:", "translate:EN", "translate:[a]", "read ", "translate:?"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no scope"):
        parse_scope(text)


GOOD = {"name": "a", "sha256": "0" * 64, "scopes": ["read"]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"tokens": {}}',
        *(
            json.dumps({"tokens": entries})
            for entries in (
                [GOOD, GOOD],
                [GOOD, GOOD | {"sha256": "1" * 64}],
                [GOOD, GOOD | {"name": "b"}],
                [GOOD | {"scopes": []}],
                [GOOD | {"scopes": ["everything"]}],
                [GOOD | {"sha256": "secret"}],
                [GOOD | {"name": "a\nb"}],
                [GOOD | {"token": "secret"}],
                [GOOD | {"expires": "tomorrow"}],
                [GOOD | {"expires": "2030-01-01T00:00:00"}],
            )
        ),
    ],
)
def test_a_server_does_not_start_with_a_tokens_file_that_makes_no_sense(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    assert main(["serve", "--port", "0", "--metrics-port", "0", "--tokens-file", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "tokens.json" in said
    assert "secret" not in said


def test_tokens_may_be_toml(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    text = f'[[tokens]]\nname = "a"\nsha256 = "{digest}"\nscopes = ["read"]\nexpires = 2999-01-01T00:00:00Z\n'
    (tmp_path / "tokens.toml").write_text(text)
    assert tomllib.loads(text)
    assert read_tokens(tmp_path / "tokens.toml").find("bearer secret").scopes == (parse_scope("read"),)


def test_the_command_makes_a_token_and_its_entry(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["token", "a", "--scope", "translate:en-*", "--scope", "read"]) == 0
    token, entry = capsys.readouterr().out.splitlines()
    (tmp_path / "tokens.json").write_text(f'{{"tokens": [{entry}]}}')
    assert read_tokens(tmp_path / "tokens.json").find(f"Bearer {token}").name == "a"
    assert len(token) >= 43
    for number, name in enumerate(("b", "c")):
        assert main(["token", name, "--scope", "read", "--add-to", str(tmp_path / "new.json")]) == 0
        assert len(json.loads((tmp_path / "new.json").read_text())["tokens"]) == number + 1
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o600
    for wrong in (["b", "--scope", "read", "--add-to", str(tmp_path / "new.json")], ["x", "--scope", "fly"]):
        with pytest.raises(SystemExit) as exit_:
            main(["token", *wrong])
        assert exit_.value.code == 2
