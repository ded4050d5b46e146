"""A script of the competitors' environment: a folder of MarianMT, greedy, by `generate` of transformers or of
optimum-onnx. Reads a line of sources (ids, all of one length) as JSON, translates them
into TARGET_LENGTH tokens each, and answers with an empty line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from transformers import GenerationConfig, MarianMTModel  # type: ignore[import-not-found,unused-ignore]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=("transformers", "optimum", "optimum-int8"))
    parser.add_argument("weights", type=Path, help="as save_pretrained writes them")
    parser.add_argument("graphs", type=Path, help="folder where the exported graphs are kept")
    parser.add_argument("target_length", type=int)
    parser.add_argument("num_threads", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.num_threads)
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):
        model = make_model(options.library, options.weights, options.graphs, options.num_threads)
        chosen = model.generation_config
        model.generation_config = GenerationConfig(
            decoder_start_token_id=chosen.decoder_start_token_id,
            eos_token_id=chosen.eos_token_id,
            pad_token_id=chosen.pad_token_id,
        )
        print(file=answers, flush=True)
        for line in sys.stdin:
            source_ids = torch.tensor(json.loads(line))
            with torch.inference_mode():
                target_ids = model.generate(
                    input_ids=source_ids,
                    attention_mask=torch.ones_like(source_ids),
                    num_beams=1,
                    do_sample=False,
                    use_cache=True,
                    min_new_tokens=options.target_length,
                    max_new_tokens=options.target_length,
                )
            if target_ids.shape != (len(source_ids), options.target_length + 1):
                raise SystemExit(f"targets of the shape {tuple(target_ids.shape)}")
            print(file=answers, flush=True)


def make_model(library: str, weights: Path, graphs: Path, num_threads: int) -> Any:
    """With a `generate` of transformers' kind."""
    if library == "transformers":
        return MarianMTModel.from_pretrained(weights).eval()
    from optimum.onnxruntime import ORTModelForSeq2SeqLM  # type: ignore[import-not-found,unused-ignore]

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = num_threads
    exported = graphs / "fp32"
    if not (exported / "config.json").is_file():
        ORTModelForSeq2SeqLM.from_pretrained(weights, export=True, use_cache=True).save_pretrained(exported)
    chosen = quantized(exported, graphs / "int8") if library == "optimum-int8" else exported
    return ORTModelForSeq2SeqLM.from_pretrained(chosen, use_cache=True, session_options=session)


def quantized(exported: Path, folder: Path) -> Path:
    """The graphs by onnxruntime's dynamic quantization: 8-bit weights with a scale for each column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for path in exported.glob("*.onnx"):
            quantize_dynamic(path, folder / path.name, per_channel=True, weight_type=QuantType.QInt8)
        for path in sorted(exported.glob("*.json"), reverse=True):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


if __name__ == "__main__":
    main()
