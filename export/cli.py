"""The command `stepstream-export`: train, publish, evaluate."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_CORPUS = Path("data/multi30k")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="stepstream-export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("train", help="train a model, or go on where a run was stopped")
    parser.add_argument("configuration", type=Path, metavar="CONFIG.toml")
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS, help="folder of SPLIT.LANGUAGE.gz files")
    parser.add_argument("--output", type=Path, help="checkpoint folder (default: runs/NAME)")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, cuda, mps (Lightning Fabric)")
    parser.add_argument("--devices", default="auto", help="processes or devices on this node, or auto")
    parser.add_argument("--num-nodes", type=int, default=1, help="nodes, with torchrun")
    parser.add_argument("--precision", default="32-true", help="32-true, 16-mixed, bf16-mixed (Lightning Fabric)")
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from lightning_fabric import Fabric

    from export.configuration import load_configuration
    from export.training.loop import Trainer

    config = load_configuration(options.configuration)
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=options.precision,
    )
    fabric.launch()
    folder = options.output or Path("runs") / config.name
    Trainer(options.configuration, config, options.corpus, folder, fabric).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
