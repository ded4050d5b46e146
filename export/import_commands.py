"""`stepstream-export import`: models that others made, into the model store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_import(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="publish a model that others made")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_hf(kinds)
    _add_joeynmt(kinds)
    _add_onnx(kinds)


def _add_onnx(kinds: Commands[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser("onnx", help="an encoder and a decoder in ONNX, served as they are")
    parser.add_argument("mapping", type=Path, metavar="MAPPING.toml", help="what their tensors are for")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="(default: %(default)s)")
    parser.add_argument("--name", help="of the model (default: the one in the mapping)")
    parser.add_argument("--version", type=int, help="(default: the next free number)")
    parser.add_argument("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with it")
    parser.set_defaults(run=_import_onnx)


def _import_onnx(options: argparse.Namespace) -> int:
    from export.foreign.publish import import_onnx
    from service.model.bundle import read_manifest

    folder = import_onnx(
        options.mapping,
        model_store=options.model_store,
        name=options.name,
        version=options.version,
        key=options.key,
    )
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: published, {megabytes:.1f} MB")
    foreign = read_manifest(folder).foreign
    assert foreign is not None
    print(foreign.sharing)
    return 0


def _add_hf(kinds: Commands[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser(
        "hf", help="a folder of transformers: MarianMT, M2M100 and NLLB, T5 and mT5, BART and mBART"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="as save_pretrained or `hf download` makes it")
    _add_common(parser)
    parser.add_argument(
        "--source-language", metavar="CODE", help="of requests that name none (default: the tokenizer's)"
    )
    parser.add_argument("--target-language", metavar="CODE", help="in the same way")
    parser.set_defaults(run=_import_hf)


def _add_joeynmt(kinds: Commands[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser("joeynmt", help="a folder of JoeyNMT: recurrent models with attention, and Transformers")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="model_dir of its training, with config.yaml")
    parser.add_argument(
        "--library",
        type=Path,
        default=Path("joeynmt-library"),
        metavar="FOLDER",
        help="what JoeyNMT is installed in by `pip install --target` (default: %(default)s)",
    )
    _add_common(parser)
    parser.set_defaults(run=_import_joeynmt)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What every import of a folder takes."""
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="(default: %(default)s)")
    parser.add_argument("--name", help="of the model (default: the folder's)")
    parser.add_argument("--version", type=int, help="(default: the next free number)")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="fp32", help="(default: %(default)s)")
    parser.add_argument(
        "--max-length", type=int, default=256, metavar="N", help="tokens of a text (default: %(default)s)"
    )
    parser.add_argument("--sentences", type=Path, metavar="FILE", help="to compare on, one a line (default: built in)")
    parser.add_argument("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with it")


def _import_hf(options: argparse.Namespace) -> int:
    from export.hf.importing import import_model

    languages = {"source_language": options.source_language, "target_language": options.target_language}
    return _report(import_model(options.folder, **_common(options), **languages))


def _import_joeynmt(options: argparse.Namespace) -> int:
    from export.joeynmt.importing import import_model

    return _report(import_model(options.folder, options.library, **_common(options)))


def _common(options: argparse.Namespace) -> dict[str, Any]:
    lines = options.sentences.read_text(encoding="utf-8").splitlines() if options.sentences else []
    return {
        "model_store": options.model_store,
        "name": options.name,
        "version": options.version,
        "precision": options.precision,
        "longest": options.max_length,
        "sentences": [line for line in lines if line.strip()],
        "key": options.key,
    }


def _report(folder: Path) -> int:
    from service.model.certificate import read_certificate

    original = read_certificate(folder / "certificate.json").original
    assert original is not None
    print(
        f"{folder}: published, {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB; as "
        f"{original.library}: {original.greedy.num_identical} of {original.greedy.num_sentences} greedy, "
        f"{original.beam.num_identical} of {original.beam.num_sentences} of a beam of {original.beam_size}"
    )
    return 0
