"""The commands `stepstream-export import`: models that others made, into the model store."""

from __future__ import annotations

import argparse
from pathlib import Path

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_import(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="publish a model that others made")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
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
