"""The folder that a corpus is translated into: what was asked for, which shards are done, and the shards.

    run.json          what the run was begun with: another one does not go on in the same folder
    manifest.jsonl    a record of each shard that is done, in the order in which they were
    part-000000.txt   the shards, or .jsonl, or .parquet
    errors/           for each shard with lines that could not be translated a file that names them

One process at a time owns a folder; a shard counts once its record is in the manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.corpora.errors import CorpusError
from service.corpora.files import append_line, remove_unfinished, write_whole
from service.corpora.shards import Record, Shard
from service.corpora.tries import forget_tries

RUN_FILE, MANIFEST_FILE, LOCK_FILE, ERRORS_FOLDER = "run.json", "manifest.jsonl", ".lock", "errors"


def shard_file(shard: Shard, suffix: str) -> str:
    """Names sort as the shards do."""
    return f"part-{shard.number:06d}{suffix}"


class RunFolder:
    """The owner of one folder. Use it as `with`."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """settings are names and values of JSON. Makes the folder, or goes on in it; raises CorpusError where it
        belongs to somebody else or was begun with other settings."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if not (path / RUN_FILE).exists() and any(p.name != LOCK_FILE for p in path.iterdir()):
            raise CorpusError(f"{path} holds other things; give an empty folder, or a new one")
        self._lock = os.open(path / LOCK_FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._own(settings)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        forget_tries(self.path)
        os.close(self._lock)

    def add(self, record: Record) -> None:
        """A shard is done."""
        append_line(self.path / MANIFEST_FILE, record.to_json())
        self.done[record.shard] = record

    def _own(self, settings: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CorpusError(f"another run writes into {self.path}") from None
        if (self.path / RUN_FILE).exists():
            self._require_same(settings)
        else:
            write_whole(self.path / RUN_FILE, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
        (self.path / ERRORS_FOLDER).mkdir(exist_ok=True)
        remove_unfinished(self.path)
        remove_unfinished(self.path / ERRORS_FOLDER)
        forget_tries(self.path)
        self.done = self._read_manifest()
        """The records of the shards that are done and whole, by number."""

    def _require_same(self, settings: Mapping[str, Any]) -> None:
        try:
            begun = json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except ValueError:
            raise CorpusError(f"{self.path / RUN_FILE} is damaged") from None
        names = [*settings, *(name for name in begun if name not in settings)]
        other = [name for name in names if begun.get(name) != settings.get(name)]
        if other:
            differences = "; ".join(_difference(name, begun.get(name), settings.get(name)) for name in other)
            raise CorpusError(f"{self.path} was begun otherwise: {differences}. Give the same, or another folder")

    def _read_manifest(self) -> dict[int, Record]:
        """Of what is there; a last line that was cut off is taken away, and a shard that is not what its record says
        is forgotten."""
        manifest = self.path / MANIFEST_FILE
        if not manifest.exists():
            return {}
        content = manifest.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            records = [Record.from_json(line) for line in whole.decode().splitlines()]
        except (ValueError, TypeError):
            raise CorpusError(f"{manifest} is damaged") from None
        found = {record.shard: record for record in records if self._is_whole(record)}
        if len(found) < len(records) or whole != content:
            write_whole(manifest, "".join(f"{record.to_json()}\n" for record in found.values()))
        return found

    def _is_whole(self, record: Record) -> bool:
        try:
            with (self.path / record.file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
        except FileNotFoundError:
            return False


def _difference(name: str, begun: object, now: object) -> str:
    if isinstance(begun, dict) and isinstance(now, dict):
        names = [*now, *(each for each in begun if each not in now)]
        other = [each for each in names if begun.get(each) != now.get(each)]
        return "; ".join(_difference(each, begun.get(each), now.get(each)) for each in other)
    return f"{name} was {_said(begun)}, now it is {_said(now)}"


def _said(value: object) -> str:
    return "not given" if value is None else str(value)
