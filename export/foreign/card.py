"""The README.md of a foreign version: what it is, what its rows may share, how that was measured, how to use it."""

from __future__ import annotations

import shlex

from service.model.certificate import Certificate
from service.model.manifest import Manifest


def foreign_card(manifest: Manifest, certificate: Certificate) -> str:
    """Markdown."""
    assert manifest.foreign is not None
    example = min((sentence.text for sentence in certificate.golden), key=len)
    agreement, invariance = certificate.agreement, certificate.invariance
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"Translates {manifest.source_language} to {manifest.target_language}: an encoder and a decoder that others "
        f"made, `{manifest.encoder}` and `{manifest.decoder_step}`, served as they are, in {manifest.precision}. "
        "Their licence is that of their makers.",
        "## What rows may share",
        f"- {manifest.foreign.sharing}.",
        "## Checks before publishing",
        f"- Served greedily, against a plain loop over the original pair: {agreement.num_identical} of "
        f"{agreement.num_sentences} targets identical; largest difference of a log-probability "
        f"{certificate.parity.outputs['log_probabilities'].absolute:.1e}.\n"
        f"- Alone or among {invariance.num_rows} rows: a log-probability changes by {invariance.batch:.1e} at most, "
        f"with padding by {invariance.padding:.1e}, with the place by {invariance.placement:.1e}.\n"
        f"- Measured with {certificate.environment.execution_provider} on {certificate.environment.processor}, "
        f"onnxruntime {certificate.environment.onnxruntime}.",
        "## Limits",
        f"- A source has at most {manifest.max_source_length} tokens, a target {manifest.max_target_length}.",
        "## Use",
        f"```\nstepstream serve --model-store MODEL_STORE\n"
        f"stepstream translate {shlex.quote(example)} --model {manifest.name}\n```",
    ]
    return "\n\n".join(sections) + "\n"
