"""What the graphs of an imported version themselves say. They are in memory; our model is not, nor is torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from export.agreement import choose_golden, measure_quantization
from export.environment import environment
from export.errors import TokensDifferError
from export.imports.card import model_card
from export.imports.compared import BEAM_SIZE, Compared, most_rows
from export.imports.grids import grids_of
from export.imports.packed import Packed
from export.invariance import check_invariance
from export.recording import recorded
from export.standards import LARGEST_QUANTIZATION_COST, SMALLEST_AGREEMENT, TOLERANCES
from export.verify import compare
from export.version_files import CERTIFICATE_FILE, MODEL_CARD_FILE, records_of, save_manifest
from service.model.bundle import read_manifest
from service.model.certificate import Agreement, Certificate, Original, Quantization
from service.model.file_record import file_sha256
from service.model.greedy import Target, translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.text import Source


def measure(packed: Packed, compared: Compared, folder: Path, float32_folder: Path, expected: Sequence[Path]) -> None:
    """Write FOLDER's certificate and model card, and its manifest anew. expected: what our model makes of `grids_of`,
    as `export.imports.record` has kept it."""
    certificate = _measure(packed, compared, folder, float32_folder, expected)
    manifest = read_manifest(folder)
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(model_card(packed.folder, manifest, certificate), encoding="utf-8")
    save_manifest(folder, manifest.model_copy(update={"files": records_of(folder)}))


def _measure(
    packed: Packed, compared: Compared, folder: Path, float32_folder: Path, expected: Sequence[Path]
) -> Certificate:
    sources, originals, length = compared.sources, compared.originals, compared.length
    float32 = OnnxModel(float32_folder, scratch=float32_folder.parent)
    shipped = float32 if folder == float32_folder else OnnxModel(folder, scratch=folder.parent)
    manifest = shipped.manifest
    grids = grids_of(packed, manifest)
    parity, _ = [compare(recorded(path), float32, grid) for path, grid in zip(expected, grids, strict=True)]
    rows = most_rows(packed)
    invariance = check_invariance(shipped, [source.ids for source in sources], num_rows=rows, scratch=folder.parent)
    float32_targets = _greedy(float32, sources, rows, length)
    agreement = _agreement([target.token_ids for target in float32_targets], [one.greedy for one in originals])
    float32_beams = _agreement(compared.beams[float32_folder], [one.beam for one in originals])
    for found, search in ((agreement, "greedy"), (float32_beams, f"beam {BEAM_SIZE}")):
        if found.num_identical < SMALLEST_AGREEMENT * found.num_sentences:
            raise TokensDifferError(
                f"{found.num_identical} of {found.num_sentences} {search} translations are those of "
                f"{packed.library.distribution}"
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
        weights_sha256=_weights_sha256(packed),
        environment=environment(shipped),
        parity=parity,
        agreement=agreement,
        original=Original(
            library=packed.library.version,
            architecture=packed.architecture_name,
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


def _greedy(model: OnnxModel, sources: Sequence[Source], rows: int, length: int | None = None) -> list[Target]:
    ids, prefixes = [source.ids for source in sources], [source.target_prefix for source in sources]
    return translate_greedily(model, ids, prefixes=prefixes, max_rows=rows, max_length=length)


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


def _weights_sha256(packed: Packed) -> str:
    """Of the file of weights, or of the hashes of its parts."""
    hashes = [file_sha256(path) for path in packed.files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
