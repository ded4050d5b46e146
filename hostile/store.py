"""A model store of the smallest real models: trained for seconds on an invented language, published and certified like
any other."""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sentencepiece
import torch

from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, save_weights
from export.configuration import ModelConfiguration, load_configuration
from export.models.build import build_model
from export.models.contract import TranslationModel
from export.models.control_tokens import END_ID
from export.publish import publish
from export.training.data import Pair, collate, train_vocabulary
from export.training.loss import smoothed_cross_entropy
from hostile.texts import MODEL, WORDS, sentences

MASKS = ("{0}", "{1}")
VOCABULARY_SIZE = 44
NUM_STEPS, BATCH_SIZE = 300, 64
CONFIGURATION = f"""
name = "{MODEL}"

[data]
source_language = "en"
target_language = "de"
vocabulary_size = {VOCABULARY_SIZE}
masks = {list(MASKS)}
golden = ["ba ce di", "fo gu ha je", "ki ba", "je je di fo", "ha", "gu ki ce ba"]
licence = "none: made up"
citation = "nobody"

[model]
family = "transformer"
hidden_size = 32
num_heads = 2
feed_forward_size = 48
num_encoder_layers = 1
num_decoder_layers = 1
alignment_layer = 0
dropout = 0.0
"""


def publish_tiny(store: Path, *, version: int = 1) -> Path:
    """STORE/tiny/VERSION. Version n says each word as the n-th after it, so that the versions' translations differ."""
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary)
        (checkpoint / CONFIGURATION_FILE).write_text(CONFIGURATION, encoding="utf-8")
        config = load_configuration(checkpoint / CONFIGURATION_FILE)
        train_vocabulary(sentences(random.Random(0), 600), VOCABULARY_SIZE, checkpoint / VOCABULARY_FILE, MASKS)
        with one_thread():
            model = _train(config.model, checkpoint / VOCABULARY_FILE, version)
        save_weights(checkpoint, model.state_dict())
        return publish(checkpoint, model_store=store, version=version, precision="fp32")


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a model gains nothing from more, which spin for one another on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(config: ModelConfiguration, vocabulary: Path, version: int) -> TranslationModel:
    torch.manual_seed(version)
    model = build_model(config, VOCABULARY_SIZE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    order = random.Random(version)
    for _ in range(NUM_STEPS):
        batch = collate([_pair(pieces, sentence, version) for sentence in sentences(order, BATCH_SIZE)])
        logits = model(batch.source_ids, batch.source_lengths, batch.target_inputs)
        loss = smoothed_cross_entropy(logits.flatten(0, 1), batch.target_outputs.flatten(), 0.0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def _pair(pieces: sentencepiece.SentencePieceProcessor, sentence: str, version: int) -> Pair:
    shifted = [WORDS[(WORDS.index(word) + version) % len(WORDS)] for word in sentence.split()]
    return [*pieces.encode(sentence), END_ID], pieces.encode(" ".join(shifted))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hostile.store", description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--versions", type=int, default=1)
    options = parser.parse_args()
    for version in range(1, options.versions + 1):
        publish_tiny(options.store, version=version)


if __name__ == "__main__":
    main()
