"""The README.md of a published version: what it is, how good it is and how that was measured, how to use it."""

from __future__ import annotations

import shlex

from export.alignment.choose import AlignmentRecord
from export.checks import checks
from export.configuration import TrainingConfiguration
from service.model.certificate import Certificate, Scores
from service.model.manifest import Manifest

TOKENIZED, KEPT = "BLEU, lowercased and tokenized", "placeholders kept"
NOTES = {
    TOKENIZED: "Lowercased and tokenized: hypothesis lowercased, punctuation normalised, Moses-tokenized, against the "
    "references in the same form, as published figures on this corpus are.",
    KEPT: "Placeholders kept: of the sentences with placeholders (`%s`, `{0}`), those whose translation has exactly "
    "the same.",
}


def model_card(
    config: TrainingConfiguration,
    manifest: Manifest,
    certificate: Certificate,
    alignment: AlignmentRecord | None = None,
) -> str:
    """Markdown."""
    data, states = config.data, manifest.states
    example = min((sentence.text for sentence in certificate.golden), key=len)
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        f"Translates {data.source_language} to {data.target_language}: {_architecture(config)}, "
        f"{manifest.vocabulary.target_size} joint SentencePiece pieces, precision {manifest.precision}. "
        f"Two ONNX graphs, `{manifest.encoder}` and `{manifest.decoder_step}` ({len(states)} states), are served one "
        "decoder step at a time.",
        "## Data, licence, citation",
        f"Trained on the split `{data.train}`, chosen by BLEU on `{data.validation}`.\n\n"
        f"- Licence of the data: {data.licence}\n- Cite: {data.citation}",
        "## Scores",
        _scores(certificate),
        "## Attention",
        _attention(manifest, alignment),
        "## Checks before publishing",
        checks(certificate),
        "## Limits",
        f"- A source has at most {manifest.max_source_length} tokens, a target {manifest.max_target_length}.\n"
        "- It knows what its training data holds; other subjects and styles translate badly.\n"
        "- It may drop, invent or misgender what the source says. Have a person check what matters.",
        "## Use",
        f"```\nstepstream serve --model-store MODEL_STORE\n"
        f"stepstream translate {shlex.quote(example)} --model {manifest.name}\n```\n\n"
        "where this folder is `MODEL_STORE/"
        f"{manifest.name}/{manifest.version}`. The server proves every file against `manifest.json` and replays the "
        "golden sentences of `certificate.json` before it serves the version.",
    ]
    return "\n\n".join(sections) + "\n"


def _architecture(config: TrainingConfiguration) -> str:
    model = config.model
    if model.family == "transformer":
        return (
            f"a {'pre' if model.norm_position == 'before' else 'post'}-norm Transformer with "
            f"{model.num_encoder_layers} encoder and {model.num_decoder_layers} decoder layers, hidden size "
            f"{model.hidden_size}, {model.num_heads} heads"
        )
    cell, attention = model.cell.upper(), model.attention
    looks = (
        "without attention"
        if attention == "none"
        else f"with {attention.choice} {attention.span} `{attention.score}` attention"
    )
    return f"a bidirectional {cell} encoder and a decoder of one {cell} cell {looks}, hidden size {model.hidden_size}"


def _attention(manifest: Manifest, alignment: AlignmentRecord | None) -> str:
    if manifest.attention is None:
        return "None: no step returns an attention row."
    measured = "" if alignment is None else f" On `{alignment.split}` {alignment.aer:.3f}: {alignment.measure}."
    return f"The row that each step returns: {manifest.attention}.{measured}"


def _scores(certificate: Certificate) -> str:
    if not certificate.scores:
        return "Not measured."
    quantization = certificate.quantization
    rows = [_row(scores, "this version") for scores in certificate.scores]
    if quantization and quantization.float32_scores:
        rows.append(_row(quantization.float32_scores, "float32"))
    titles = list(dict.fromkeys(title for row in rows for title in row))
    table = [titles, ["---"] * len(titles), *([row.get(title, "") for title in titles] for row in rows)]
    signatures = certificate.scores[0]
    notes = [
        f"BLEU: sacreBLEU `{signatures.bleu_signature}`. chrF: `{signatures.chrf_signature}`.",
        *(note for title, note in NOTES.items() if title in titles),
    ]
    return (
        "Greedy translation of the whole split through the runtime that serves.\n\n"
        + "\n".join(f"| {' | '.join(line)} |" for line in table)
        + f"\n\n{' '.join(notes)}"
    )


def _row(scores: Scores, precision: str) -> dict[str, str]:
    """Cells by title."""
    row = {"split": scores.split, "precision": precision, "sentences": f"{scores.num_sentences}"}
    row["BLEU"] = f"{scores.bleu:.2f}"
    if scores.bleu_lowercased_tokenized is not None:
        row[TOKENIZED] = f"{scores.bleu_lowercased_tokenized:.2f}"
    row["chrF"] = f"{scores.chrf:.2f}"
    if kept := scores.placeholders_kept:
        row[KEPT] = f"{kept.num_kept} of {kept.num_with_placeholders}"
    return row
