"""Makes the certificate of an imported version: its graphs against our model, and its translations against those of
the library that it comes from, token for token. It waits for the processes that do so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.errors import ImportedModelError, TokensDifferError
from export.imports import stages
from export.imports.compared import BEAM_SIZE, LONGEST_COMPARED, Compared, most_rows
from export.imports.library import Library
from export.imports.original import Ask, Translation
from export.imports.packed import Packed
from export.separately import separately
from export.standards import BUILT_IN_SENTENCES
from service.heap import trim
from service.model.languages import MANY
from service.model.manifest import Manifest
from service.model.text import Source


def certify(packed: Packed, manifest: Manifest, folder: Path, float32_folder: Path, sentences: Sequence[str]) -> None:
    """Measure everything on `sentences`, or on built-in ones: the library's translations, our beam search, our model's
    outputs, and at last the graphs, each in a process of its own. Write what was found into FOLDER. Raises
    VerificationError where the graphs fall short."""
    length = min(LONGEST_COMPARED, manifest.max_target_length)
    asks, sources = separately(stages.read_sources, manifest, folder, _asks(manifest, sentences or BUILT_IN_SENTENCES))
    originals = _originals(packed, asks, length)
    _require_same_sources(packed.library, asks, sources, originals)
    rows = most_rows(packed)
    beams = {where: _beams(where, sources, length, rows) for where in {float32_folder, folder}}
    expected = tuple(folder.with_name(f"expected-{grid}") for grid in ("small", "long"))
    separately(stages.record, packed, manifest, expected)
    compared = Compared(asks, sources, originals, beams, length)
    separately(stages.measure, packed, compared, folder, float32_folder, expected)


def _asks(manifest: Manifest, sentences: Sequence[str]) -> list[Ask]:
    """Each sentence in the languages of a request that names none, and every second one in others as well."""
    targets = [one.code for one in manifest.vocabulary.languages if one.target_id is not None]
    if not targets:
        return [Ask(text) for text in sentences]
    sources = [one.code for one in manifest.vocabulary.languages if one.source_id is not None] or [""]
    own_source = manifest.source_language if sources != [""] else ""
    own_target = targets[0] if manifest.target_language == MANY else manifest.target_language
    others = [
        Ask(text, sources[-1 - i % len(sources)], targets[-1 - i % len(targets)])
        for i, text in enumerate(sentences[::2])
    ]
    return [*(Ask(text, own_source, own_target) for text in sentences), *others]


def _originals(packed: Packed, asks: Sequence[Ask], length: int) -> list[Translation]:
    asked = {
        **packed.library.asked,
        "folder": str(packed.folder),
        "texts": [asdict(ask) for ask in asks],
        "max_length": length,
        "beam_size": BEAM_SIZE,
    }
    made = _run(packed.library.module, asked, packed.library.version, packed.library.folder)
    return [
        Translation(tuple(one["source_ids"]), tuple(one["greedy"]), tuple(one["beam"]), one["text"]) for one in made
    ]


def _require_same_sources(
    library: Library, asks: Sequence[Ask], sources: Sequence[Source], originals: Sequence[Translation]
) -> None:
    for ask, source, original in zip(asks, sources, originals, strict=True):
        if source.ids != original.source_ids:
            raise TokensDifferError(
                f"{ask.text!r} is read as {list(source.ids)}, by {library.distribution} as {list(original.source_ids)}"
            )


def _beams(folder: Path, sources: Sequence[Source], length: int, rows: int) -> list[list[int]]:
    """By the search that serves, which is a process of its own here: export knows no engine."""
    requests = [
        {"source_ids": source.ids, "prefix": source.target_prefix, "max_length": length, "beam_size": BEAM_SIZE}
        for source in sources
    ]
    asked = {
        "folder": str(folder),
        "scratch": str(folder.parent),
        "num_threads": 0,
        "at_once": rows // BEAM_SIZE,
        "requests": requests,
    }
    made: list[list[int]] = _run("service.engine.offline", asked, "the search that serves")
    return made


def _run(module: str, asked: dict[str, Any], name: str, packages: Path | None = None) -> Any:
    """The answer of a module that runs in a process of its own, which alone sees the packages in a folder. This one
    gives back what it has freed. Raises ImportedModelError, with the module's name for people, where it fails."""
    trim()
    paths = [*([str(packages)] if packages else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(  # noqa: S603
        (sys.executable, "-m", module),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} if packages else None,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ImportedModelError(f"{name} itself fails to translate with this model: {last[0]}")
    return json.loads(done.stdout)
