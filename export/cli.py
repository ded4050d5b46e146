"""The command `stepstream-export`: fetch a corpus, train, publish, import, sign, evaluate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.errors import ExportError
from export.import_commands import add_import
from export.sign_commands import add_make_key, add_sign, add_verify_signature
from service.model.errors import ModelError

DEFAULT_CORPORA = Path("data")
DEFAULT_CORPUS = DEFAULT_CORPORA / "multi30k"
DEFAULT_MODEL_STORE = Path("model_store")
DEFAULT_SPLITS = ("test_2016_flickr",)
Commands = argparse._SubParsersAction  # argparse has no public name for it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status. What a caller can put right is one line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog="stepstream-export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_fetch_corpus, _add_train, _add_publish, _add_evaluate, _add_choose_alignment, _add_rebuild):
        add(commands)
    for add in (add_import, add_make_key, add_sign, add_verify_signature):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except ModuleNotFoundError as error:
        extra = "import" if error.name in ("transformers", "tokenizers", "yaml") else "export"
        print(f"stepstream-export needs {error.name}: pip install 'stepstream[{extra}]'", file=sys.stderr)
        return 1
    except (ExportError, ModelError, OSError) as error:
        print(f"stepstream-export {options.command}: {error}", file=sys.stderr)
        return 1
    return status


def _add_fetch_corpus(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("fetch-corpus", help="download a public corpus, or build it from public texts")
    parser.add_argument(
        "corpus",
        nargs="?",
        choices=("multi30k", "software-en-ko"),
        default="multi30k",
        help="captions in English, German, French, Czech; or texts of Debian's programs, English and Korean "
        "(default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, help="folder (default: data/CORPUS)")
    parser.add_argument("--base-url", help="address of the folder with the SPLIT.LANGUAGE.gz files, or Debian's mirror")
    parser.set_defaults(run=_fetch_corpus)


def _fetch_corpus(options: argparse.Namespace) -> int:
    from export.corpora.multi30k import fetch_multi30k
    from export.corpora.software import fetch_software

    fetch = {"multi30k": fetch_multi30k, "software-en-ko": fetch_software}[options.corpus]
    folder = options.output or DEFAULT_CORPORA / options.corpus
    made = fetch(folder, options.base_url)
    print(f"{folder}: {len(made)} new files")
    return 0


def _add_train(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="train a model, or go on where a run was stopped")
    parser.add_argument("configuration", type=Path, metavar="CONFIG.toml")
    parser.add_argument("--corpus", type=Path, help="folder of SPLIT.LANGUAGE.gz files (default: data/ and its name)")
    parser.add_argument("--output", type=Path, help="checkpoint folder (default: runs/NAME)")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, cuda, mps (Lightning Fabric)")
    parser.add_argument("--devices", default="auto", help="processes or devices on this node, or auto")
    parser.add_argument("--num-nodes", type=int, default=1, help="nodes, with torchrun")
    parser.add_argument(
        "--precision", choices=("32-true", "bf16-mixed", "bf16-true"), default="32-true", help="(Lightning Fabric)"
    )
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from export.training.command import make_fabric, read_configuration, require_corpus
    from export.training.loop import Trainer

    config = read_configuration(options.configuration)
    corpus = options.corpus or DEFAULT_CORPORA / config.data.corpus
    require_corpus(corpus, config.data)
    fabric = make_fabric(options.accelerator, options.devices, options.num_nodes, options.precision)
    fabric.launch()
    folder = options.output or Path("runs") / config.name
    Trainer(options.configuration, config, corpus, folder, fabric).run()
    return 0


def _add_publish(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("publish", help="export, verify and certify a checkpoint into the model store")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder that `train` made")
    parser.add_argument("--model-store", type=Path, default=DEFAULT_MODEL_STORE, help="(default: %(default)s)")
    parser.add_argument("--name", help="of the model (default: the one in the checkpoint's configuration)")
    parser.add_argument("--version", type=int, help="(default: the next free number)")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8", help="(default: %(default)s)")
    scoring = parser.add_mutually_exclusive_group()
    scoring.add_argument("--corpus", type=Path, help="folder with the test splits; without it there are no scores")
    scoring.add_argument("--corpora", type=Path, help="folder in which the corpus has the name in the configuration")
    parser.add_argument(
        "--split", nargs="+", help="the first is also measured on (default: those of the checkpoint's configuration)"
    )
    parser.add_argument("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with it")
    parser.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> int:
    from export.publish import publish

    folder = publish(
        options.checkpoint,
        model_store=options.model_store,
        name=options.name,
        version=options.version,
        precision=options.precision,
        corpus=options.corpus,
        corpora=options.corpora,
        splits=options.split,
        key=options.key,
    )
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: published, {megabytes:.1f} MB")
    return 0


def _add_evaluate(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("evaluate", help="score a published version through the runtime that serves")
    parser.add_argument("version", type=Path, metavar="MODEL_STORE/NAME/VERSION")
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS, help="folder of SPLIT.LANGUAGE.gz files")
    parser.add_argument("--split", nargs="+", default=DEFAULT_SPLITS, help="(default: %(default)s)")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from export.evaluate import describe, evaluate, read_test_set
    from service.model.onnx_model import OnnxModel

    model = OnnxModel(options.version)
    manifest = model.manifest
    languages = manifest.source_language, manifest.target_language
    for test_set in [read_test_set(options.corpus, split, *languages) for split in options.split]:
        evaluation = evaluate(model, test_set)
        scores = evaluation.scores
        print(f"{manifest.name} version {manifest.version} ({manifest.precision}) on {scores.split}, greedy")
        for line in describe(scores):
            print(f"  {line}")
        print(f"  {evaluation.sentences_per_second:.0f} sentences/s over {scores.num_sentences} sentences", flush=True)
    return 0


def _add_choose_alignment(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "choose-alignment", help="find the decoder layer and heads whose attention aligns words best"
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder that `train` made")
    parser.add_argument("--corpus", type=Path, help="folder of SPLIT.LANGUAGE.gz files (default: data/ and its name)")
    parser.add_argument("--split", help="to measure on (default: the one that training validates on)")
    parser.add_argument("--write", action="store_true", help="make the best choice the checkpoint's own")
    parser.set_defaults(run=_choose_alignment)


def _choose_alignment(options: argparse.Namespace) -> int:
    from export.alignment.choose import measure_checkpoint, store
    from export.alignment.measure import MEASURE
    from export.checkpoint import CONFIGURATION_FILE
    from export.training.command import read_configuration

    data = read_configuration(options.checkpoint / CONFIGURATION_FILE).data
    corpus = options.corpus or DEFAULT_CORPORA / data.corpus
    measurement = measure_checkpoint(options.checkpoint, corpus, options.split)
    print(f"{options.checkpoint.name} on {measurement.split}: {MEASURE}")
    if measurement.is_choosable:
        print("error rate  layer  heads, both from 0")
        for choice in measurement.choices:
            print(f"{choice.error_rate:10.4f}  {choice.layer:5}  {', '.join(map(str, choice.heads))}")
    else:
        print(f"{measurement.choices[0].error_rate:10.4f}  the decoder's only attention")
    if options.write:
        store(options.checkpoint, measurement)
        print(f"the best is now {options.checkpoint}'s own")
    return 0


def _add_rebuild(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("rebuild", help="train and publish shipped models, going on where it was stopped")
    parser.add_argument("names", nargs="*", metavar="NAME", help="(default: all)")
    parser.add_argument("--checkpoints", type=Path, default=Path("export/checkpoints"), help="(default: %(default)s)")
    parser.add_argument(
        "--corpora", type=Path, default=DEFAULT_CORPORA, help="folder of corpora (default: %(default)s)"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="(default: %(default)s)")
    parser.add_argument("--model-store", type=Path, default=DEFAULT_MODEL_STORE, help="(default: %(default)s)")
    parser.set_defaults(run=_rebuild)


def _rebuild(options: argparse.Namespace) -> int:
    from export.rebuild import Places, rebuild

    places = Places(options.checkpoints, options.corpora, options.runs, options.model_store)
    rebuild(places, options.names, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
