"""What `stepstream translate-corpus` does. It parses no arguments."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from service.client.options import DecodingOptions, options_message
from service.cores import num_cores
from service.corpora.cluster import Workers, running
from service.corpora.folder import ERRORS_FOLDER, RunFolder
from service.corpora.formats.format import Fields, open_format
from service.corpora.inputs import find_files, format_of, identify, plan_shards
from service.corpora.job import Job, Model
from service.corpora.model import find_model, require_options
from service.corpora.progress import corpus_progress, show_summary
from service.corpora.shards import Record, Shard
from service.messages import options_from


@dataclass(frozen=True)
class Corpus:
    """What to translate, into what: a file or a folder, the name of a format or None for what the suffixes say, and
    the most lines of a shard."""

    source: Path
    output: Path
    format: str | None
    fields: Fields
    max_lines: int


@dataclass(frozen=True)
class Choice:
    """The model, of a store; no name: its only one. version 0: the newest one."""

    store: Path
    name: str | None
    version: int
    options: DecodingOptions


def translate_corpus(corpus: Corpus, choice: Choice, workers: Workers, *, address: str | None) -> None:
    """Translate what of a corpus is not translated yet, with a progress bar on stderr, and print a summary.

    address: of a Ray cluster; None: this machine. Raises CorpusError, OSError, and what options cannot be sent by.
    """
    options = options_from(options_message(choice.options))
    model = find_model(choice.store, choice.name, choice.version)
    require_options(model, options)
    paths = find_files(corpus.source)
    name = corpus.format or format_of(paths)
    form = open_format(name, corpus.fields)
    shards = list(plan_shards(paths, form, max_lines=corpus.max_lines))
    settings = {
        **_model_settings(model, choice.options),
        "format": name,
        **({} if name == "text" else {"field": corpus.fields.text, "output_field": corpus.fields.translation}),
        "shard_lines": corpus.max_lines,
        "inputs": {each.name: f"{each.num_bytes} bytes, SHA-256 {each.sha256}" for each in map(identify, paths)},
    }
    with RunFolder(corpus.output, settings) as folder:
        job = Job(model, options, name, corpus.fields, folder.path.absolute(), workers.num_cpus)
        summary = _translate(shards, job, folder, workers, address)
        show_summary(f"{corpus.output}: {summary}")


def _translate(shards: list[Shard], job: Job, folder: RunFolder, workers: Workers, address: str | None) -> str:
    """Writes the shards that are missing; the summary."""
    missing = [shard for shard in shards if shard.number not in folder.done]
    num_lines = sum(shard.extent.num_lines for shard in shards)
    num_done = sum(record.num_lines for record in folder.done.values())
    new: list[Record] = []
    seconds = 0.0
    if missing:
        num_cpus = workers.number * workers.num_cpus or max(num_cores(), workers.num_cpus)
        with (
            running(address, workers, num_cpus=num_cpus) as cluster,
            corpus_progress(num_lines=num_lines, num_done=num_done) as show,
        ):
            started = time.monotonic()
            for record in cluster.translate(missing, job):
                folder.add(record)
                new.append(record)
                show(record)
            seconds = time.monotonic() - started
    parts = [f"{_counted(num_lines, 'line')} in {_counted(len(shards), 'shard')}"]
    if num_done:
        parts.append(f"{_counted(num_done, 'line')} done before")
    if new:
        num_tokens = sum(record.num_tokens for record in new)
        parts.append(f"{num_tokens:,} tokens in {seconds:.1f} s, {num_tokens / seconds:,.0f} tokens/s")
    if num_errors := sum(record.num_errors for record in folder.done.values()):
        parts.append(f"{_counted(num_errors, 'line')} not translated, see {folder.path / ERRORS_FOLDER}")
    return "; ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _model_settings(model: Model, options: DecodingOptions) -> dict[str, Any]:
    """What of a run is of the model, by the names of the flags."""
    return {
        "model": model.name,
        "version": model.version,
        "manifest_sha256": model.manifest_sha256,
        "options": {
            field.name: _plain(getattr(options, field.name))
            for field in fields(options)
            if getattr(options, field.name) != field.default
        },
    }


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
