"""A script of the competitors' environment: whether onnxruntime-genai loads the graphs of a MarianMT model. Prints an
empty line if it does; raises its error otherwise."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import onnxruntime_genai  # type: ignore[import-not-found,unused-ignore]

SIZES = {
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 6,
    "head_size": 64,
}
CONFIG = {
    "model": {
        "type": "marian",
        "vocab_size": 32_000,
        "context_length": 512,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "decoder_start_token_id": 2,
        "eos_token_id": 3,
        "encoder": {"filename": "encoder_model.onnx", **SIZES},
        "decoder": {"filename": "decoder_with_past_model.onnx", **SIZES},
    },
    "search": {"max_length": 64, "num_beams": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exported", type=Path, help="graphs that optimum-onnx exported")
    parser.add_argument("folder", type=Path, help="scratch")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in options.exported.glob("*.onnx"):
        shutil.copy(path, options.folder)
    (options.folder / "genai_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    onnxruntime_genai.Model(str(options.folder))
    print(flush=True)


if __name__ == "__main__":
    main()
