"""Small random models of every kind, as checkpoints, as graphs and as loaded versions; and a small corpus."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from export.bundle import Graphs, export_graphs, vocabulary_of, write_graphs, write_manifest
from export.checkpoint import CONFIGURATION_FILE, VOCABULARY_FILE, load_checkpoint, save_weights
from export.configuration import TrainingConfiguration, load_configuration
from export.models.attention.scores import SCORES
from export.models.build import build_model
from export.models.contract import TranslationModel
from export.training.data import train_vocabulary
from export.version_files import CERTIFICATE_FILE
from service.model.onnx_model import OnnxModel

VOCABULARY_SIZE = 40
WORDS = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki")
RECURRENT = 'family = "recurrent"\ncell = "lstm"\nhidden_size = 24\nencoder_hidden_size = 12\ndropout = 0.0\n'
ARCHITECTURES = {
    "transformer": """
family = "transformer"
hidden_size = 32
num_heads = 2
feed_forward_size = 48
num_encoder_layers = 1
num_decoder_layers = 2
alignment_layer = 1
dropout = 0.0
""",
    "post_norm": """
family = "transformer"
hidden_size = 32
num_heads = 4
encoder_num_heads = 2
head_size = 16
feed_forward_size = 48
encoder_feed_forward_size = 64
activation = "gelu"
norm_position = "after"
final_norm = false
embedding_norm = true
positions = "learned"
embedding_scale = 1.0
output_bias = true
num_encoder_layers = 2
num_decoder_layers = 1
alignment_layer = 0
dropout = 0.0
""",
    "relative": """
family = "transformer"
hidden_size = 32
num_heads = 2
head_size = 8
scaled_attention = false
feed_forward_size = 48
activation = "gelu_tanh"
gated = true
biases = false
norm = "rms"
norm_epsilon = 1e-6
positions = "relative"
num_buckets = 8
max_distance = 20
embedding_scale = 1.0
shared_embedding = false
tied_output = false
num_encoder_layers = 1
num_decoder_layers = 2
alignment_layer = 1
dropout = 0.0
""",
    "alternating": """
family = "transformer"
hidden_size = 32
num_heads = 2
feed_forward_size = 48
norm_position = "after"
final_norm = false
sinusoids = "alternating"
residual_scale = 1.3
encoder_residual_scale = 0.8
num_encoder_layers = 1
num_decoder_layers = 2
alignment_layer = 1
dropout = 0.0
""",
    "ssru": """
family = "transformer"
hidden_size = 32
num_heads = 2
feed_forward_size = 48
decoder_history = "ssru"
tied_decoder_layers = [0, 1, 1]
norm_position = "after"
final_norm = false
num_encoder_layers = 1
num_decoder_layers = 3
alignment_layer = 1
dropout = 0.0
""",
    "lstm": 'family = "recurrent"\ncell = "lstm"\nhidden_size = 24\nencoder_hidden_size = 20\ndropout = 0.2\n',
    "gru": 'family = "recurrent"\ncell = "gru"\nhidden_size = 24\nencoder_hidden_size = 20\ndropout = 0.0\n',
    "layered": RECURRENT
    + """encoder_cell = "gru"
embedding_size = 16
encoder_embedding_size = 20
num_encoder_layers = 2
num_decoder_layers = 2
initial_state = "copy"
input_feeding = false
attentional_bias = true
shared_embedding = false
tied_output = false
""",
    "from_zero": RECURRENT + 'initial_state = "zero"\nnum_decoder_layers = 2\n',
    "none": RECURRENT + 'attention = "none"\n',
    **{score: f'{RECURRENT}[model.attention]\nscore = "{score}"\n' for score in SCORES},
    "local_m": RECURRENT + '[model.attention]\nspan = "local_m"\nwindow = 3\n',
    "local_p": RECURRENT + '[model.attention]\nspan = "local_p"\nwindow = 3\n',
    "hard": RECURRENT + '[model.attention]\nchoice = "hard"\n',
    "hard_local": RECURRENT + '[model.attention]\nscore = "additive"\nspan = "local_p"\nwindow = 3\nchoice = "hard"\n',
}
CONFIGURATION = """
name = "tiny-{kind}"

[data]
source_language = "en"
target_language = "de"
vocabulary_size = 40
max_length = 40
test = ["test_2016_flickr"]
licence = "none: made up"
citation = "nobody"

[model]
{architecture}

[optimization]
batch_tokens = 192
max_epochs = {max_epochs}
learning_rate = 1e-2
warmup_steps = 20
label_smoothing = 0.0
ema_decay = 0.8
"""


@dataclass(frozen=True)
class Tiny:
    """One kind of model: its checkpoint folder, the model it holds, its float32 graphs."""

    kind: str
    checkpoint: Path
    config: TrainingConfiguration
    model: TranslationModel
    graphs: Graphs


@pytest.fixture(scope="session")
def write_configuration() -> Callable[..., Path]:
    """Writes CONFIG.toml for a kind of model."""

    def write(path: Path, kind: str, *, max_epochs: int = 3) -> Path:
        text = CONFIGURATION.format(kind=kind, architecture=ARCHITECTURES[kind], max_epochs=max_epochs)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def copy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose target is its source."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for split, num_sentences in (("train", 600), ("val", 40), ("test_2016_flickr", 24)):
        lines = [" ".join(rng.choices(WORDS, k=rng.randint(2, 5))) for _ in range(num_sentences)]
        for language in ("en", "de"):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, copy_corpus: Path, write_configuration: Callable[..., Path]
) -> Callable[..., Path]:
    """Makes a checkpoint folder with random weights."""
    vocabulary = tmp_path_factory.mktemp("vocabulary") / VOCABULARY_FILE
    train_vocabulary((copy_corpus / "train.en").read_text().splitlines(), VOCABULARY_SIZE, vocabulary)

    def make(kind: str, *, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(f"checkpoint-{kind}")
        config = load_configuration(write_configuration(folder / CONFIGURATION_FILE, kind))
        (folder / VOCABULARY_FILE).write_bytes(vocabulary.read_bytes())
        torch.manual_seed(seed)
        save_weights(folder, build_model(config.model, VOCABULARY_SIZE).state_dict())
        return folder

    return make


@pytest.fixture(scope="session")
def make_tiny(make_checkpoint: Callable[..., Path]) -> Callable[[str], Tiny]:
    """Makes a kind of model with its graphs, once."""
    made: dict[str, Tiny] = {}

    def make(kind: str) -> Tiny:
        if kind not in made:
            checkpoint = make_checkpoint(kind)
            config, model = load_checkpoint(checkpoint)
            made[kind] = Tiny(kind, checkpoint, config, model, export_graphs(model))
        return made[kind]

    return make


@pytest.fixture(scope="session", params=sorted(ARCHITECTURES))
def tiny(request: pytest.FixtureRequest, make_tiny: Callable[[str], Tiny]) -> Tiny:
    """Every kind of model in turn."""
    return make_tiny(request.param)


@pytest.fixture(scope="session")
def gru(make_tiny: Callable[[str], Tiny]) -> Tiny:
    """The kind whose graphs are made fastest."""
    return make_tiny("gru")


@pytest.fixture(scope="session")
def load_graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tiny, Graphs], OnnxModel]:
    """Loads graphs as the server does, uncertified."""

    def load(tiny: Tiny, graphs: Graphs) -> OnnxModel:
        folder = tmp_path_factory.mktemp("version") / "1"
        write_graphs(folder, graphs, vocabulary_of(tiny.checkpoint))
        (folder / CERTIFICATE_FILE).write_text("none")
        write_manifest(folder, tiny.config, tiny.model, graphs.precision, f"tiny-{tiny.kind}", 1)
        return OnnxModel(folder, num_threads=1)

    return load


@pytest.fixture(scope="session")
def float32(tiny: Tiny, load_graphs: Callable[[Tiny, Graphs], OnnxModel]) -> OnnxModel:
    return load_graphs(tiny, tiny.graphs)


@pytest.fixture(scope="session")
def int8(tiny: Tiny, load_graphs: Callable[[Tiny, Graphs], OnnxModel]) -> OnnxModel:
    return load_graphs(tiny, tiny.graphs.quantized())
