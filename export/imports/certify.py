"""Makes the certificate of an imported version: its graphs against our model, and its translations against those of
the library that it comes from, token for token."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export.agreement import choose_golden, measure_quantization
from export.certify import BUILT_IN_SENTENCES, LARGEST_QUANTIZATION_COST, SMALLEST_AGREEMENT, TOLERANCES, environment
from export.errors import ImportedModelError, TokensDifferError
from export.imports.imported import Imported, Library
from export.imports.original import Ask, Translation
from export.invariance import check_invariance
from export.recording import record, recorded
from export.separately import separately
from export.verify import BATCH_SIZES, NUM_STEPS, SOURCE_LENGTHS, Grid, check_states, compare, torch_outputs
from service.heap import trim
from service.model.certificate import Agreement, Certificate, Original, Quantization
from service.model.file_record import file_sha256
from service.model.greedy import Target, translate_greedily
from service.model.languages import MANY
from service.model.manifest import Manifest
from service.model.onnx_model import OnnxModel
from service.model.text import Source, open_texts

BEAM_SIZE = 4
LONGEST_COMPARED = 64
"""Tokens of a target that is compared with transformers' own."""
MANY_PARAMETERS = 50_000_000
"""From here on fewer rows and lengths are measured: each costs seconds, and a row the logits of a large vocabulary."""
MOST_ROWS, FEW_ROWS = 64, 16


@dataclass(frozen=True)
class _Compared:
    """What is compared: sentences, as both read them, what the library made of them, and the targets of our beam
    search, by folder."""

    asks: Sequence[Ask]
    sources: Sequence[Source]
    originals: Sequence[Translation]
    beams: Mapping[Path, list[list[int]]]
    length: int


def certify(
    imported: Imported, manifest: Manifest, folder: Path, float32_folder: Path, sentences: Sequence[str]
) -> Certificate:
    """Measure everything on `sentences`, or on built-in ones: the library's translations, our model's outputs, our beam
    search, and at last the graphs, each in a process of its own. Raises VerificationError where the graphs fall
    short."""
    length = min(LONGEST_COMPARED, manifest.max_target_length)
    asks, sources = _readable(manifest, folder, _asks(manifest, sentences or BUILT_IN_SENTENCES))
    originals = _originals(imported, asks, length)
    _require_same_sources(imported.library, asks, sources, originals)
    rows = _most_rows(imported)
    beams = {where: _beams(where, sources, length, rows) for where in {float32_folder, folder}}
    files = [folder.with_name(f"expected-{i}") for i, _ in enumerate(_grids(imported, manifest))]
    separately(_record, imported, manifest, files)
    compared = _Compared(asks, sources, originals, beams, length)
    return separately(_measure, imported, compared, folder, float32_folder, files)


def _grids(imported: Imported, manifest: Manifest) -> tuple[Grid, Grid]:
    """Many small batches, and a small one of the greatest lengths."""
    steps, most = min(NUM_STEPS, manifest.max_target_length), manifest.max_source_length
    small = (
        Grid((1, 3), (5, 17), steps)
        if _is_large(imported)
        else Grid(BATCH_SIZES, _at_most(SOURCE_LENGTHS, most), steps)
    )
    return small, Grid((2,), (most,), manifest.max_target_length)


def _is_large(imported: Imported) -> bool:
    return imported.weights.num_elements > MANY_PARAMETERS


def _most_rows(imported: Imported) -> int:
    """That share a step of the graphs."""
    return FEW_ROWS if _is_large(imported) else MOST_ROWS


def _at_most(lengths: Sequence[int], most: int) -> tuple[int, ...]:
    return tuple(min(length, most) for length in lengths)


def _record(imported: Imported, manifest: Manifest, files: Sequence[Path]) -> None:
    model = imported.architecture.load(imported.weights)
    sizes = manifest.vocabulary.shared_size, manifest.num_candidates
    for path, grid in zip(files, _grids(imported, manifest), strict=True):
        record(path, torch_outputs(model, grid, *sizes))


def _measure(
    imported: Imported, compared: _Compared, folder: Path, float32_folder: Path, expected: Sequence[Path]
) -> Certificate:
    """All that the graphs themselves say; they are in memory, and our model is not."""
    sources, originals, length = compared.sources, compared.originals, compared.length
    float32 = OnnxModel(float32_folder, scratch=float32_folder.parent)
    shipped = float32 if folder == float32_folder else OnnxModel(folder, scratch=folder.parent)
    manifest = shipped.manifest
    check_states(imported.architecture.outline().state_specs, float32)
    grids = _grids(imported, manifest)
    parity, _ = [compare(recorded(path), float32, grid) for path, grid in zip(expected, grids, strict=True)]
    rows = _most_rows(imported)
    invariance = check_invariance(shipped, [source.ids for source in sources], num_rows=rows, scratch=folder.parent)
    float32_targets = _greedy(float32, sources, rows, length)
    agreement = _agreement([target.token_ids for target in float32_targets], [one.greedy for one in originals])
    float32_beams = _agreement(compared.beams[float32_folder], [one.beam for one in originals])
    for found, search in ((agreement, "greedy"), (float32_beams, f"beam {BEAM_SIZE}")):
        if found.num_identical < SMALLEST_AGREEMENT * found.num_sentences:
            raise TokensDifferError(
                f"{found.num_identical} of {found.num_sentences} {search} translations are those of "
                f"{imported.library.distribution}"
            )
    targets, quantization, greedy = float32_targets, None, agreement
    if shipped is not float32:
        targets = _greedy(shipped, sources, rows, length)
        quantization = _quantization(shipped, sources, targets, float32_targets, rows)
        greedy = _agreement([target.token_ids for target in targets], [one.greedy for one in originals])
    quoted = _quotable(targets, length)
    return Certificate(
        format=1,
        created=datetime.now(UTC).replace(microsecond=0),
        weights_sha256=_weights_sha256(imported),
        environment=environment(shipped),
        parity=parity,
        agreement=agreement,
        original=Original(
            library=imported.library.version,
            architecture=imported.architecture_name,
            greedy=greedy,
            beam=_agreement(compared.beams[folder], [one.beam for one in originals]),
            beam_size=BEAM_SIZE,
        ),
        invariance=invariance,
        quantization=quantization,
        scores=(),
        log_probability_tolerance=TOLERANCES[manifest.precision],
        golden=choose_golden(
            shipped,
            [compared.asks[i].text for i in quoted],
            [sources[i].ids for i in quoted],
            _greedy(shipped, [sources[i] for i in quoted], rows),
            prefixes=[sources[i].target_prefix for i in quoted],
            max_rows=rows,
        ),
    )


def _quotable(targets: Sequence[Target], length: int) -> Sequence[int]:
    """Those that ended before `length` cut them off, or all where none did."""
    return [i for i, target in enumerate(targets) if len(target.token_ids) < length] or range(len(targets))


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


def _originals(imported: Imported, asks: Sequence[Ask], length: int) -> list[Translation]:
    asked = {
        **imported.library.asked,
        "folder": str(imported.folder),
        "texts": [asdict(ask) for ask in asks],
        "max_length": length,
        "beam_size": BEAM_SIZE,
    }
    made = _run(imported.library.module, asked, imported.library.version, imported.library.folder)
    return [
        Translation(tuple(one["source_ids"]), tuple(one["greedy"]), tuple(one["beam"]), one["text"]) for one in made
    ]


def _readable(manifest: Manifest, folder: Path, asks: Sequence[Ask]) -> tuple[list[Ask], list[Source]]:
    """Those that the model takes, and how it reads them."""
    texts, most = open_texts(manifest, folder), manifest.max_source_length
    read = [(ask, texts.read(ask.text, ask.source_language, ask.target_language)) for ask in asks]
    taken = [(ask, source) for ask, source in read if len(source.ids) <= most and not source.is_empty]
    if not taken:
        raise TokensDifferError(f"no sentence to compare has at most {most} tokens; --sentences brings others")
    return [ask for ask, _ in taken], [source for _, source in taken]


def _require_same_sources(
    library: Library, asks: Sequence[Ask], sources: Sequence[Source], originals: Sequence[Translation]
) -> None:
    for ask, source, original in zip(asks, sources, originals, strict=True):
        if source.ids != original.source_ids:
            raise TokensDifferError(
                f"{ask.text!r} is read as {list(source.ids)}, by {library.distribution} as {list(original.source_ids)}"
            )


def _greedy(model: OnnxModel, sources: Sequence[Source], rows: int, length: int | None = None) -> list[Target]:
    ids, prefixes = [source.ids for source in sources], [source.target_prefix for source in sources]
    return translate_greedily(model, ids, prefixes=prefixes, max_rows=rows, max_length=length)


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


def _agreement(found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Agreement:
    identical = sum(tuple(one) == tuple(other) for one, other in zip(found, wanted, strict=True))
    return Agreement(num_sentences=len(wanted), num_identical=identical)


def _quantization(
    shipped: OnnxModel,
    sources: Sequence[Source],
    targets: Sequence[Target],
    float32_targets: Sequence[Target],
    rows: int,
) -> Quantization:
    measured = measure_quantization(
        shipped,
        [source.ids for source in sources],
        targets,
        float32_targets,
        None,
        prefixes=[source.target_prefix for source in sources],
        max_rows=rows,
    )
    if measured.num_flipped_tokens > LARGEST_QUANTIZATION_COST * measured.num_tokens:
        raise TokensDifferError(f"the 8-bit form flips {measured.num_flipped_tokens} of {measured.num_tokens} tokens")
    return measured


def _weights_sha256(imported: Imported) -> str:
    """Of the file of weights, or of the hashes of its parts."""
    hashes = [file_sha256(path) for path in imported.weights.files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
