"""The README.md of an imported version: where it is from, how equal it is, how to use it."""

from __future__ import annotations

import shlex
from pathlib import Path

from export.checks import checks
from service.model.certificate import Certificate
from service.model.languages import MANY, Languages
from service.model.manifest import Manifest


def model_card(folder: Path, manifest: Manifest, certificate: Certificate) -> str:
    """Markdown; folder: the original's."""
    original = certificate.original
    assert original is not None
    example = min((sentence.text for sentence in certificate.golden), key=len)
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"Imported from `{folder.resolve().name}`, a {original.architecture} of {original.library}: precision "
        f"{manifest.precision}, {manifest.vocabulary.target_size} tokens. Two ONNX graphs, `{manifest.encoder}` and "
        f"`{manifest.decoder_step}` ({len(manifest.states)} states), are served one decoder step at a time.",
        "## Licence, data, scores",
        "As the original's own model card says; nothing of them was in the files that were imported.",
        "## Languages",
        _languages(manifest),
        "## Checks before publishing",
        f"- Token for token as {original.library}: {original.greedy.num_identical} of {original.greedy.num_sentences} "
        f"greedy translations, {original.beam.num_identical} of {original.beam.num_sentences} of a beam of "
        f"{original.beam_size}.\n" + checks(certificate),
        "## Use",
        f"```\nstepstream serve --model-store MODEL_STORE\n"
        f"stepstream translate {shlex.quote(example)} --model {manifest.name}{_flags(manifest)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _languages(manifest: Manifest) -> str:
    languages = Languages(manifest)
    if not manifest.vocabulary.languages:
        return f"From {manifest.source_language} to {manifest.target_language}."
    target = "which it must" if manifest.target_language == MANY else f"{manifest.target_language} where it does not"
    return (
        f"A request chooses by `source_language` ({manifest.source_language} where it does not) and `target_language` "
        f"({target}). From: {', '.join(languages.sources)}. To: {', '.join(languages.targets)}."
    )


def _flags(manifest: Manifest) -> str:
    if manifest.target_language != MANY:
        return ""
    return f" --target-language {Languages(manifest).targets[0]}"
