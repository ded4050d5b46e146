"""`stepstream-export import`: models that others made, into the model store.

What reads a model needs torch, and does so in a process of its own; this one waits, and stays small."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from export.imports.packed import Packed
from export.separately import separately

Commands = argparse._SubParsersAction  # argparse has no public name for it
_Given = ParamSpec("_Given")


def add_import(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="publish a model that others made")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_hf(kinds)
    _add_joeynmt(kinds)
    _add_marian(kinds)
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
    _add_options(parser, named_after="the folder's")
    _add_languages(parser, "the tokenizer's")
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
    _add_options(parser, named_after="the folder's")
    parser.set_defaults(run=_import_joeynmt)


def _add_marian(kinds: Commands[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser("marian", help="a model of Marian NMT: a Transformer, or a student with an SSRU decoder")
    parser.add_argument("model", type=Path, metavar="MODEL.npz", help="as Marian's training saves it")
    parser.add_argument(
        "--vocab",
        type=Path,
        nargs=2,
        required=True,
        metavar=("SOURCE.spm", "TARGET.spm"),
        help="its SentencePiece models; the same one twice where both languages share it",
    )
    parser.add_argument(
        "--normalize",
        type=float,
        default=0.0,
        metavar="ALPHA",
        help="beams are ranked by log-probability / length ** ALPHA, as in its decoder.yml (default: 0, as Marian's)",
    )
    _add_options(parser, named_after="the file's")
    _add_languages(parser, "unknown")
    parser.set_defaults(run=_import_marian)


def _add_languages(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--source-language", metavar="CODE", help=f"of requests that name none (default: {default})")
    parser.add_argument("--target-language", metavar="CODE", help="in the same way")


def _add_options(parser: argparse.ArgumentParser, *, named_after: str) -> None:
    """What every import of weights takes."""
    parser.add_argument("--model-store", type=Path, default=Path("model_store"), help="(default: %(default)s)")
    parser.add_argument("--name", help=f"of the model (default: {named_after})")
    parser.add_argument("--version", type=int, help="(default: the next free number)")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="fp32", help="(default: %(default)s)")
    parser.add_argument(
        "--max-length", type=int, default=256, metavar="N", help="tokens of a text (default: %(default)s)"
    )
    parser.add_argument("--sentences", type=Path, metavar="FILE", help="to compare on, one a line (default: built in)")
    parser.add_argument("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with it")


def _import_hf(options: argparse.Namespace) -> int:
    return _import(options, _read_hf, options.folder, options.max_length, **_languages(options))


def _read_hf(folder: Path, longest: int, **languages: str | None) -> Packed:
    from export.hf.read import read

    return read(folder, longest, **languages).packed()


def _import_joeynmt(options: argparse.Namespace) -> int:
    return _import(options, _read_joeynmt, options.folder, options.library, options.max_length)


def _read_joeynmt(folder: Path, library: Path, longest: int) -> Packed:
    from export.joeynmt.read import read

    return read(folder, library, longest).packed()


def _import_marian(options: argparse.Namespace) -> int:
    source, target = options.vocab
    languages = _languages(options)
    return _import(
        options, _read_marian, options.model, (source, target), options.max_length, options.normalize, **languages
    )


def _read_marian(
    model: Path, vocabs: tuple[Path, Path], longest: int, normalize: float, **languages: str | None
) -> Packed:
    from export.marian.read import read

    return read(model, vocabs, longest, normalize=normalize, **languages).packed()


def _languages(options: argparse.Namespace) -> dict[str, str | None]:
    return {"source_language": options.source_language, "target_language": options.target_language}


def _import(
    options: argparse.Namespace, read: Callable[_Given, Packed], *given: _Given.args, **named: _Given.kwargs
) -> int:
    from export.imports.publish import publish
    from service.model.certificate import read_certificate

    lines = options.sentences.read_text(encoding="utf-8").splitlines() if options.sentences else []
    folder = publish(
        separately(read, *given, **named),
        model_store=options.model_store,
        name=options.name,
        version=options.version,
        precision=options.precision,
        sentences=[line for line in lines if line.strip()],
        key=options.key,
    )
    original = read_certificate(folder / "certificate.json").original
    assert original is not None
    print(
        f"{folder}: published, {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB; as "
        f"{original.library}: {original.greedy.num_identical} of {original.greedy.num_sentences} greedy, "
        f"{original.beam.num_identical} of {original.beam.num_sentences} of a beam of {original.beam_size}"
    )
    return 0
