"""Makes the certificate of an imported version: its graphs against our model, and its translations against those of
transformers itself, token for token. It writes no file."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from export.agreement import choose_golden, measure_quantization
from export.certify import BUILT_IN_SENTENCES, LARGEST_QUANTIZATION_COST, SMALLEST_AGREEMENT, TOLERANCES, environment
from export.errors import TokensDifferError
from export.hf.imported import Imported
from export.hf.original import Ask, Translation
from export.invariance import check_invariance
from export.models.transformer import Transformer
from export.verify import BATCH_SIZES, NUM_STEPS, SOURCE_LENGTHS, check_parity
from service.model.certificate import Agreement, Certificate, Original, Quantization
from service.model.greedy import Target, translate_greedily
from service.model.languages import MANY
from service.model.manifest import Manifest, file_sha256
from service.model.onnx_model import OnnxModel
from service.model.text import Source, open_texts

BEAM_SIZE = 4
LONGEST_COMPARED = 64
"""Tokens of a target that is compared with transformers' own."""
MANY_PARAMETERS = 50_000_000
"""From here on fewer rows and lengths are measured, since each costs seconds."""


def certify(
    imported: Imported, model: Transformer, float32: OnnxModel, shipped: OnnxModel, sentences: Sequence[str]
) -> Certificate:
    """Measure everything on `sentences`, or on built-in ones. Raises VerificationError where the graphs fall short."""
    manifest = shipped.manifest
    length = min(LONGEST_COMPARED, manifest.max_target_length)
    asks, sources = _readable(shipped, _asks(manifest, sentences or BUILT_IN_SENTENCES))
    originals = _originals(imported.folder, asks, length)
    _require_same_sources(asks, sources, originals)
    is_large = sum(one.numel() for one in model.parameters()) > MANY_PARAMETERS
    parity = check_parity(
        model,
        float32,
        batch_sizes=(1, 3) if is_large else BATCH_SIZES,
        source_lengths=(5, 17) if is_large else tuple(min(n, manifest.max_source_length) for n in SOURCE_LENGTHS),
        num_steps=min(NUM_STEPS, manifest.max_target_length),
    )
    check_parity(
        model,
        float32,
        batch_sizes=(2,),
        source_lengths=(manifest.max_source_length,),
        num_steps=manifest.max_target_length,
    )
    invariance = check_invariance(shipped, [source.ids for source in sources], num_rows=16 if is_large else 64)
    float32_targets = _greedy(float32, sources, length)
    agreement = _agreement([target.token_ids for target in float32_targets], [one.greedy for one in originals])
    float32_beams = _agreement(_beams(float32, sources, length), [one.beam for one in originals])
    for found, search in ((agreement, "greedy"), (float32_beams, f"beam {BEAM_SIZE}")):
        if found.num_identical < SMALLEST_AGREEMENT * found.num_sentences:
            raise TokensDifferError(
                f"{found.num_identical} of {found.num_sentences} {search} translations are those of transformers"
            )
    targets, quantization, greedy, beam = float32_targets, None, agreement, float32_beams
    if shipped is not float32:
        targets = _greedy(shipped, sources, length)
        quantization = _quantization(shipped, sources, targets, float32_targets)
        greedy = _agreement([target.token_ids for target in targets], [one.greedy for one in originals])
        beam = _agreement(_beams(shipped, sources, length), [one.beam for one in originals])
    quoted = _quotable(targets, length)
    return Certificate(
        format=1,
        created=datetime.now(UTC).replace(microsecond=0),
        weights_sha256=_weights_sha256(imported),
        environment=environment(shipped),
        parity=parity,
        agreement=agreement,
        original=Original(
            library=f"transformers {version('transformers')}",
            architecture=imported.architecture_name,
            greedy=greedy,
            beam=beam,
            beam_size=BEAM_SIZE,
        ),
        invariance=invariance,
        quantization=quantization,
        scores=(),
        log_probability_tolerance=TOLERANCES[manifest.precision],
        golden=choose_golden(
            shipped,
            [asks[i].text for i in quoted],
            [sources[i].ids for i in quoted],
            _greedy(shipped, [sources[i] for i in quoted], manifest.max_target_length),
            prefixes=[sources[i].target_prefix for i in quoted],
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


def _originals(folder: Path, asks: Sequence[Ask], length: int) -> list[Translation]:
    asked = {
        "folder": str(folder),
        "texts": [asdict(ask) for ask in asks],
        "max_length": length,
        "beam_size": BEAM_SIZE,
    }
    made = _run("export.hf.original", asked)
    return [
        Translation(tuple(one["source_ids"]), tuple(one["greedy"]), tuple(one["beam"]), one["text"]) for one in made
    ]


def _readable(model: OnnxModel, asks: Sequence[Ask]) -> tuple[list[Ask], list[Source]]:
    """Those that the model takes, and how it reads them."""
    texts, most = open_texts(model.manifest, model.folder), model.manifest.max_source_length
    read = [(ask, texts.read(ask.text, ask.source_language, ask.target_language)) for ask in asks]
    taken = [(ask, source) for ask, source in read if len(source.ids) <= most and not source.is_empty]
    if not taken:
        raise TokensDifferError(f"no sentence to compare has at most {most} tokens; --sentences brings others")
    return [ask for ask, _ in taken], [source for _, source in taken]


def _require_same_sources(asks: Sequence[Ask], sources: Sequence[Source], originals: Sequence[Translation]) -> None:
    for ask, source, original in zip(asks, sources, originals, strict=True):
        if source.ids != original.source_ids:
            raise TokensDifferError(
                f"{ask.text!r} is read as {list(source.ids)}, by transformers as {list(original.source_ids)}"
            )


def _greedy(model: OnnxModel, sources: Sequence[Source], length: int) -> list[Target]:
    ids, prefixes = [source.ids for source in sources], [source.target_prefix for source in sources]
    return translate_greedily(model, ids, prefixes=prefixes, max_length=length)


def _beams(model: OnnxModel, sources: Sequence[Source], length: int) -> list[list[int]]:
    """By the search that serves, which is a process of its own here: export knows no engine."""
    requests = [
        {"source_ids": source.ids, "prefix": source.target_prefix, "max_length": length, "beam_size": BEAM_SIZE}
        for source in sources
    ]
    made: list[list[int]] = _run(
        "service.engine.offline", {"folder": str(model.folder), "num_threads": 0, "requests": requests}
    )
    return made


def _run(module: str, asked: dict[str, Any]) -> Any:
    done = subprocess.run(  # noqa: S603
        (sys.executable, "-m", module), input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise TokensDifferError(f"{module} failed: {last[0]}")
    return json.loads(done.stdout)


def _agreement(found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Agreement:
    identical = sum(tuple(one) == tuple(other) for one, other in zip(found, wanted, strict=True))
    return Agreement(num_sentences=len(wanted), num_identical=identical)


def _quantization(
    shipped: OnnxModel, sources: Sequence[Source], targets: Sequence[Target], float32_targets: Sequence[Target]
) -> Quantization:
    measured = measure_quantization(
        shipped,
        [source.ids for source in sources],
        targets,
        float32_targets,
        None,
        prefixes=[source.target_prefix for source in sources],
    )
    if measured.num_flipped_tokens > LARGEST_QUANTIZATION_COST * measured.num_tokens:
        raise TokensDifferError(f"the 8-bit form flips {measured.num_flipped_tokens} of {measured.num_tokens} tokens")
    return measured


def _weights_sha256(imported: Imported) -> str:
    """Of the file of weights, or of the hashes of its parts."""
    hashes = [file_sha256(path) for path in imported.weights.files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
