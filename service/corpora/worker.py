"""One worker: a process that loads the model once, then translates and writes one shard after another."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from service.corpora.errors import CorpusError
from service.corpora.files import appearing
from service.corpora.folder import ERRORS_FOLDER, shard_file
from service.corpora.formats.format import SUFFIXES, open_format
from service.corpora.job import Job
from service.corpora.model import load, settings_of
from service.corpora.shards import Record, Shard, Translation, Unusable
from service.corpora.translating import SentenceTranslator
from service.corpora.tries import counted_try


class ShardWorker:
    """What Ray Data calls for each batch of one row: a shard as JSON in, its record as JSON out, or else the problem
    that ends the run."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._format = open_format(job.format, job.fields)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        (text,) = batch["shard"]
        shard = Shard.from_json(text)
        try:
            with counted_try(self._job.output, shard):
                return {"record": [self.translate(shard).to_json()], "problem": [""]}
        except (CorpusError, OSError) as error:
            return {"record": [""], "problem": [str(error)]}

    @cached_property
    def _translator(self) -> SentenceTranslator:
        job = self._job
        num_rows = settings_of(job.model, job.num_cpus).max_slots * job.num_cpus
        translator = SentenceTranslator(load(job.model, num_cpus=job.num_cpus), job.options, num_rows=num_rows)
        translator.start()
        return translator

    def translate(self, shard: Shard) -> Record:
        """Translate a shard and write it, and what is wrong with its lines, if anything is; the same files again where
        that was done before. Raises CorpusError where the model cannot be loaded, and OSError."""
        translator = self._translator
        started_at, started = time.time(), time.monotonic()
        path, extent = Path(shard.path), shard.extent
        done = translator.translate(list(self._format.read(path, extent)))
        errors: list[dict[str, str | int]] = [
            {"file": path.name, "line": shard.first_line + place, "error": translation.reason}
            for place, translation in enumerate(done.translations)
            if isinstance(translation, Unusable)
        ]
        target = self._job.output / shard_file(shard, SUFFIXES[self._job.format])
        self._write_errors(target, errors)
        sha256 = self._write(shard, done.translations, target)
        return Record(
            shard=shard.number,
            source=path.name,
            first_line=shard.first_line,
            num_lines=len(done.translations),
            num_errors=len(errors),
            num_tokens=done.num_tokens,
            file=target.name,
            sha256=sha256,
            started_at=started_at,
            seconds=time.monotonic() - started,
        )

    def _write(self, shard: Shard, translations: Sequence[Translation], target: Path) -> str:
        with appearing(target) as unfinished:
            self._format.write(Path(shard.path), shard.extent, translations, unfinished)
            with unfinished.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def _write_errors(self, target: Path, errors: Sequence[dict[str, str | int]]) -> None:
        if errors:
            with appearing(target.parent / ERRORS_FOLDER / f"{target.stem}.jsonl") as unfinished:
                lines = (json.dumps(error, ensure_ascii=False) + "\n" for error in errors)
                unfinished.write_text("".join(lines), encoding="utf-8")
