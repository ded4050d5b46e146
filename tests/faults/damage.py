"""Every way in which a version can be wrong: each a function that does it to a folder, and the reason to be told.

`FILES` leave the manifest as it was, so do `WEIGHTS_FILES`, of a version with weights beside its graphs; of `SEALED`
and `SEALED_WEIGHTS` ones the manifest has every hash, so that only what the files say can
give them away.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from tests.faults.damaged_graphs import (
    GRAPH,
    WEIGHTS,
    another_name,
    another_rank,
    another_type,
    external_in_branch,
    external_weight,
    foreign,
    foreign_function,
    foreign_in_function,
    graph,
    memory_bomb,
    reads_a_file,
    said_of_a_weight,
    spoiled,
    time_bomb,
    weights_beside,
)
from tests.faults.versions import SHIPPED, Change, edit_manifest, seal_version


def _write(name: str, content: bytes | Callable[[bytes], bytes]) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return change


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _elsewhere(folder: Path, name: str) -> Path:
    """Move a file out of the folder."""
    target = folder.parent.parent / f"outside-{folder.name}-{name}"
    (folder / name).rename(target)
    return target


def _symlink(name: str) -> Change:
    return lambda folder: (folder / name).symlink_to(_elsewhere(folder, name))


def _hardlink(name: str) -> Change:
    return lambda folder: (folder / name).hardlink_to(_elsewhere(folder, name))


def _pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def _socket(folder: Path) -> None:
    (folder / GRAPH).unlink()
    os.mknod(folder / GRAPH, 0o140644)


def _folder(folder: Path) -> None:
    (folder / GRAPH).unlink()
    (folder / GRAPH).mkdir()


def _listed(name: str, **values: object) -> Change:
    """The manifest says something else of a file."""

    def change(folder: Path) -> None:
        files = json.loads((folder / "manifest.json").read_text())["files"]
        edit_manifest(folder, files=files | {name: files[name] | values})

    return change


def _sparse(folder: Path) -> None:
    """A file without content of half a gigabyte, as the manifest says."""
    os.truncate(folder / GRAPH, 2**29)
    _listed(GRAPH, size=2**29)(folder)


FILES: dict[str, tuple[Change, str]] = {
    "a pipe for a manifest": (_pipe("manifest.json"), "MANIFEST"),
    "an empty graph": (_write(GRAPH, b""), "FILE"),
    "half a graph": (_write(GRAPH, lambda content: content[: len(content) // 2]), "FILE"),
    "a graph with one other bit": (_write(GRAPH, _flip), "FILE"),
    "random bytes": (_write(GRAPH, lambda content: os.urandom(len(content))), "FILE"),
    "a certificate with one other bit": (_write("certificate.json", _flip), "FILE"),
    "a missing file": (lambda folder: (folder / GRAPH).unlink(), "FILE"),
    "a file that is not listed": (lambda folder: (folder / "more").touch(), "FILE"),
    "a symbolic link to a file": (_symlink(GRAPH), "FILE"),
    "a hard link to a file": (_hardlink(GRAPH), "FILE"),
    "a symbolic link to a manifest": (_symlink("manifest.json"), "MANIFEST"),
    "a pipe for a file": (_pipe(GRAPH), "FILE"),
    "a socket for a file": (_socket, "FILE"),
    "a folder for a file": (_folder, "FILE"),
    "a size beyond what a graph can have": (_listed(GRAPH, size=2**40), "MANIFEST"),
    "half a gigabyte of nothing": (_sparse, "FILE"),
    "an empty manifest": (_write("manifest.json", b""), "MANIFEST"),
    "a manifest that is no JSON": (_write("manifest.json", os.urandom(1000)), "MANIFEST"),
    "a manifest as deep as it is long": (_write("manifest.json", b"[" * 500_000), "MANIFEST"),
    "a manifest of two megabytes": (_write("manifest.json", b" " * 2**21), "MANIFEST"),
    "another model's name": (lambda folder: edit_manifest(folder, name="other"), "MANIFEST"),
    "another version's number": (lambda folder: edit_manifest(folder, version=77), "MANIFEST"),
    "a path for a file's name": (lambda folder: edit_manifest(folder, encoder="../1/encoder.onnx"), "MANIFEST"),
}


def _sizes(**sizes: int) -> Change:
    def change(folder: Path) -> None:
        vocabulary = json.loads((folder / "manifest.json").read_text())["vocabulary"]
        edit_manifest(folder, vocabulary=vocabulary | sizes)

    return change


def _other_vocabulary(folder: Path) -> None:
    shutil.copyfile(SHIPPED / "en-ko-transformer" / "1" / "vocabulary.model", folder / "vocabulary.model")


def _other_golden(folder: Path) -> None:
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["golden"][0]["target_ids"][0] ^= 1
    (folder / "certificate.json").write_text(json.dumps(certificate))


def _permuted_vocabulary(folder: Path) -> None:
    """Two ordinary pieces, which a golden sentence has, in each other's place."""
    sentence = json.loads((folder / "certificate.json").read_text())["golden"][-1]
    model = sentencepiece_model_pb2.ModelProto.FromString((folder / "vocabulary.model").read_bytes())
    one, other = (model.pieces[place] for place in sorted(set(sentence["source_ids"]))[-2:])
    one.piece, other.piece = other.piece, one.piece
    (folder / "vocabulary.model").write_bytes(model.SerializeToString())


def _part(name: str, **values: object) -> Change:
    """The manifest says something else in one of its parts."""

    def change(folder: Path) -> None:
        part = json.loads((folder / "manifest.json").read_text()).get(name, {})
        edit_manifest(folder, **{name: part | values})

    return change


def _certificate(change: Callable[[dict[str, Any]], None]) -> Change:
    def apply(folder: Path) -> None:
        certificate = json.loads((folder / "certificate.json").read_text())
        change(certificate)
        (folder / "certificate.json").write_text(json.dumps(certificate))

    return apply


SEALED: dict[str, tuple[Change, str]] = {
    "two pieces of the vocabulary in each other's place": (_permuted_vocabulary, "CERTIFICATE"),
    "another golden sentence with the tokens of one": (
        _certificate(lambda of: of["golden"][0].update(text="Three men wearing hats.")),
        "CERTIFICATE",
    ),
    "another text of a golden sentence's target": (
        _certificate(lambda of: of["golden"][0].update(target_text="Drei Maenner.")),
        "CERTIFICATE",
    ),
    "any difference tolerated": (_certificate(lambda of: of.update(log_probability_tolerance=1e9)), "CERTIFICATE"),
    "a certificate of a megabyte": (
        _certificate(lambda of: of["environment"].update(processor="x" * 2**20)),
        "MANIFEST",
    ),
    "targets that begin beyond the vocabulary": (_part("vocabulary", target_prefix=[6000]), "MANIFEST"),
    "targets that begin with more than they may have": (_part("vocabulary", target_prefix=[4] * 300), "MANIFEST"),
    "sources that end beyond the vocabulary": (_part("vocabulary", source_suffix=[2**63]), "MANIFEST"),
    "control tokens beyond the vocabulary": (_part("vocabulary", control_ids=[999_999]), "MANIFEST"),
    "suppressed tokens beyond the vocabulary": (_part("search", suppressed_ids=[10**30]), "MANIFEST"),
    "a length penalty that no request may have": (_part("search", length_penalty=1e308), "MANIFEST"),
    "no end before the longest target": (_part("search", min_length=10**9), "MANIFEST"),
    "sources without room for a text": (lambda folder: edit_manifest(folder, max_source_length=1), "MANIFEST"),
    "sources longer than a message can say": (
        lambda folder: edit_manifest(folder, max_source_length=2**31),
        "MANIFEST",
    ),
    "targets longer than anything": (lambda folder: edit_manifest(folder, max_target_length=10**400), "MANIFEST"),
    "targets of more tokens for each than a number can say": (_part("search", max_length_factor=1e306), "MANIFEST"),
    "a text for a number": (lambda folder: edit_manifest(folder, max_target_length="256"), "MANIFEST"),
    "yes for a number": (lambda folder: edit_manifest(folder, length_multiple=True), "MANIFEST"),
    "a graph for a certificate": (lambda folder: edit_manifest(folder, certificate=GRAPH), "MANIFEST"),
    "one graph for both": (lambda folder: edit_manifest(folder, decoder_step=GRAPH), "MANIFEST"),
    "attention that is no number": (spoiled("attention", math.nan), "CERTIFICATE"),
    "attention without end": (spoiled("attention", math.inf), "CERTIFICATE"),
    "logits that are no numbers": (spoiled("logits", math.nan), "CERTIFICATE"),
    "logits without end": (spoiled("logits", math.inf), "CERTIFICATE"),
    "logits of which the best candidate has the least": (spoiled("logits", -1.0, "Mul"), "CERTIFICATE"),
    "random bytes for a graph": (_write(GRAPH, os.urandom(5000)), "GRAPH"),
    "half a graph, sealed": (_write(GRAPH, lambda content: content[: len(content) // 2]), "GRAPH"),
    "the other graph": (lambda f: shutil.copyfile(f / "decoder_step.onnx", f / GRAPH), "GRAPH"),
    "weights in a file beside": (external_weight("weights.bin"), "GRAPH"),
    "weights above the folder": (external_weight("../weights.bin"), "GRAPH"),
    "weights at an absolute path": (external_weight("/etc/passwd"), "GRAPH"),
    "weights at an address": (external_weight("*/_ORT_MEM_ADDR_/*"), "GRAPH"),
    "weights of a branch in a file": (graph(external_in_branch), "GRAPH"),
    "an operator of another domain": (graph(foreign), "GRAPH"),
    "a function of another domain": (graph(foreign_function), "GRAPH"),
    "a function that calls another domain": (graph(foreign_in_function), "GRAPH"),
    "an operator that reads files": (graph(reads_a_file), "GRAPH"),
    "another name of an input": (graph(another_name), "GRAPH"),
    "another type of an input": (graph(another_type), "GRAPH"),
    "another rank of an input": (graph(another_rank), "GRAPH"),
    "more memory than there is": (graph(memory_bomb), "CERTIFICATE"),
    "a loop that never ends": (graph(time_bomb), "TIMEOUT"),
    "a vocabulary that is none": (_write("vocabulary.model", os.urandom(5000)), "VOCABULARY"),
    "a vocabulary of another model": (_other_vocabulary, "VOCABULARY"),
    "another size of the source vocabulary": (_sizes(source_size=100), "VOCABULARY"),
    "another size of the target vocabulary": (_sizes(target_size=100), "GRAPH"),
    "a certificate that is none": (_write("certificate.json", os.urandom(500)), "CERTIFICATE"),
    "a certificate as deep as it is long": (_write("certificate.json", b'{"a":' * 200_000), "CERTIFICATE"),
    "a golden sentence of another model": (_other_golden, "CERTIFICATE"),
}


def _whole(change: Change) -> Change:
    """To a version that is whole, with weights beside its graphs."""

    def apply(folder: Path) -> None:
        weights_beside(folder)
        seal_version(folder)
        change(folder)

    return apply


def _unlisted_weights(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files={name: record for name, record in files.items() if name != WEIGHTS})


WEIGHTS_FILES: dict[str, tuple[Change, str]] = {
    name: (_whole(change), reason)
    for name, (change, reason) in {
        "weights with one other bit": (_write(WEIGHTS, _flip), "FILE"),
        "half of the weights": (_write(WEIGHTS, lambda content: content[: len(content) // 2]), "FILE"),
        "more than the weights": (_write(WEIGHTS, lambda content: content + b"x"), "FILE"),
        "missing weights": (lambda folder: (folder / WEIGHTS).unlink(), "FILE"),
        "a symbolic link to weights": (_symlink(WEIGHTS), "FILE"),
        "a hard link to weights": (_hardlink(WEIGHTS), "FILE"),
        "a pipe for weights": (_pipe(WEIGHTS), "FILE"),
        "weights that are not listed": (_unlisted_weights, "MANIFEST"),
        "weights beyond what a version can have": (_listed(WEIGHTS, size=2**37), "MANIFEST"),
        "a graph beyond what one can have": (_listed(GRAPH, size=2**31), "MANIFEST"),
        "a graph for weights": (lambda folder: edit_manifest(folder, weights=GRAPH), "MANIFEST"),
        "a path for weights": (lambda folder: edit_manifest(folder, weights=f"../1/{WEIGHTS}"), "MANIFEST"),
    }.items()
}

SEALED_WEIGHTS: dict[str, tuple[Change, str]] = {
    name: (_whole(change), reason)
    for name, (change, reason) in {
        "weights in another file of the version": (said_of_a_weight("location", "vocabulary.model"), "GRAPH"),
        "weights in the file of another version": (said_of_a_weight("location", f"../1/{WEIGHTS}"), "GRAPH"),
        "weights at an absolute path, beside weights": (said_of_a_weight("location", "/etc/passwd"), "GRAPH"),
        "weights at an address, beside weights": (said_of_a_weight("location", "*/_ORT_MEM_ADDR_/*"), "GRAPH"),
        "weights beyond the end": (said_of_a_weight("offset", "1" + "0" * 9), "GRAPH"),
        "fewer weights than the shape has": (said_of_a_weight("length", "4"), "GRAPH"),
        "weights of a branch in the file of weights": (graph(external_in_branch), "GRAPH"),
        "weights that nobody says lie beside": (lambda folder: edit_manifest(folder, weights=None), "GRAPH"),
        "other weights": (_write(WEIGHTS, lambda content: content[::-1]), "CERTIFICATE"),
    }.items()
}
