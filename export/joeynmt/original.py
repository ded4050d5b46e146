"""What JoeyNMT itself makes of some texts: `python -m export.joeynmt.original`, see `export.imports.original`.

It loads the folder as joeynmt.hub_interface does, and predicts by joeynmt.prediction, one text after another.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.imports.original import Ask, Translation, answer
from export.joeynmt.checkpoint import find_checkpoint
from export.joeynmt.configuration import load_yaml, read_configuration
from export.joeynmt.vocabulary import find_model, find_vocabulary


def translate(folder: Path, asks: Sequence[Ask], *, max_length: int, beam_size: int) -> list[Translation]:
    """Each text by itself, with the `testing` options of the folder's configuration besides length and beam."""
    from joeynmt.prediction import predict, prepare

    args = _arguments(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable()
        model, _, _, stream = prepare(args, rank=0, mode="translate")

    def one(ask: Ask) -> Translation:
        def tokens(size: int) -> tuple[tuple[int, ...], str]:
            stream.reset_cache()
            stream.set_item(ask.text)
            test = args.test._replace(
                beam_size=size, n_best=1, max_output_length=max_length, return_prob="none", return_attention=False
            )
            _, _, texts, made, _, _ = predict(
                model=model, data=stream, device=args.device, n_gpu=0, args=test, autocast=args.autocast
            )
            return tuple(model.trg_vocab.lookup(token) for token in made[0]), texts[0]

        greedy, text = tokens(1)
        beam, _ = tokens(beam_size)
        _, source, _ = stream[0]
        [source_ids], _, _ = stream.sequence_encoder[stream.src_lang]([source], bos=False, eos=True)
        return Translation(tuple(source_ids), greedy, beam, text)

    return [one(ask) for ask in asks]


def _arguments(folder: Path) -> Any:
    """The configuration with the folder's own files in place of those that it had in training."""
    from joeynmt.config import parse_global_args

    ours = read_configuration(folder)
    config = load_yaml(folder)
    config["model_dir"] = str(folder)
    config["use_cuda"] = False
    for name, side in (("src", ours.data.src), ("trg", ours.data.trg)):
        config["data"][name]["voc_file"] = str(find_vocabulary(folder, name, side))
        if side.level == "bpe":
            config["data"][name]["tokenizer_cfg"]["model_file"] = str(find_model(folder, name, side))
    testing = config.setdefault("testing", {})
    testing["load_model"] = str(find_checkpoint(folder, ours.testing.load_model))
    for part in ("load_model", "load_encoder", "load_decoder"):
        config.setdefault("training", {}).pop(part, None)
    return parse_global_args(config, rank=0, mode="translate")


if __name__ == "__main__":
    raise SystemExit(answer(translate))
