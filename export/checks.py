"""A certificate's checks in words, for the README.md of its version."""

from __future__ import annotations

from collections.abc import Sequence

from service.model.certificate import Certificate


def checks(certificate: Certificate) -> str:
    """The lines of a list."""
    absolute = max(difference.absolute for difference in certificate.parity.outputs.values())
    agreement, quantization = certificate.agreement, certificate.quantization
    lines: Sequence[str] = [
        f"- float32 graphs against the torch model, all outputs: largest difference {absolute:.1e}; "
        f"{agreement.num_identical} of {agreement.num_sentences} greedy translations identical.",
        f"- Alone or among {certificate.invariance.num_rows} rows, whatever the padding or the place: no bit changes.",
        *(
            [
                f"- Quantization: {quantization.num_flipped_tokens} of {quantization.num_tokens} tokens and "
                f"{quantization.num_flipped_sentences} of {quantization.num_sentences} whole translations differ "
                "from float32."
            ]
            if quantization
            else []
        ),
        f"- Measured with {certificate.environment.execution_provider} on {certificate.environment.processor}, "
        f"onnxruntime {certificate.environment.onnxruntime}.",
    ]
    return "\n".join(lines)
