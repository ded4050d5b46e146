"""The two models of the package `arabic-name-romanizer`, served: the texts of the package's own decoder, name by name.

The package is fetched for the test and runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export.cli import main
from service.client.client import Client
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server

pytestmark = pytest.mark.originals

PACKAGE = "arabic-name-romanizer==0.2.0"
NUM_NAMES = 250
EXAMPLES = {
    "arabic-names": ["محمد", "صلاح", "حبيبة", "عطيفي", "عبد الرحمن", "عبد القادر", "زقزوق", "حسن", "علي"],
    "persian-names": ["حامد", "كرزي", "احمد", "شاه", "مسعود", "ذبيح الله", "مجاهد", "حسن", "روحاني"],
}
FOLDERS = {"arabic-names": ".", "persian-names": "persian"}
LANGUAGES = {"arabic-names": "ar", "persian-names": "fa"}
PERSIAN = "پچژگکیۀٹڈڑھںے"
DECODE = """
import json, sys
from pathlib import Path
from arabic_name_romanizer.api import default_resources_dir
from arabic_name_romanizer.inference import OnnxModel

asked = json.load(sys.stdin)
model = OnnxModel(default_resources_dir() / asked["folder"], beam_width=asked["beam_width"])
json.dump([model.transliterate_units([name], None, 1)[0][0][0] for name in asked["names"]], sys.stdout)
"""
NAMES = """
import json, random, sqlite3, sys
from arabic_name_romanizer.api import default_resources_dir

asked = json.load(sys.stdin)
database = sqlite3.connect(default_resources_dir() / "names.sqlite3")
names = sorted({name for (name,) in database.execute("SELECT arabic_key FROM units")})
random.Random(0).shuffle(names)
is_persian = asked["persian"]
found = [name for name in names if is_persian == any(letter in name for letter in asked["letters"])]
json.dump(found[: asked["count"]], sys.stdout)
"""
MAPPING = """
name = "{name}"
source_language = "{language}"
target_language = "{language}-Latn"
max_source_length = 64
max_target_length = 32
ended_hypotheses = "stay"
examples = {examples}

[encoder]
file = "encoder.onnx"
source_ids = "src"
source_mask = {{ input = "src_mask", marks = "padding" }}

[decoder]
file = "decoder.onnx"
last_token = "prefix"
source_mask = {{ input = "src_mask", marks = "padding" }}
log_probabilities = "logprobs"

[[states]]
input = "memory"
from_encoder = "memory_out"

[[states]]
input = "hidden"
from_encoder = "hidden_out"
becomes = "hidden_out"

[source]
tokenizer = "characters"
vocabulary = "vocab.json"
unknown = "<UNK>"
pad = "<PAD>"
before = ["<UNK_COUNTRY>", "<ROLE_UNKNOWN>"]
after = ["<EOS>"]

[target]
tokenizer = "characters"
vocabulary = "vocab.json"
unknown = "<UNK>"
begin = "<BOS>"
end = "<EOS>"
never = ["<PAD>"]
min_length = 1
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into, without what it needs: this environment has that."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    return folder


@pytest.fixture(scope="module")
def ask(package: Path) -> Callable[..., list[str]]:
    """What a program that knows the package answers."""

    def run(program: str, **asked: object) -> list[str]:
        environment = os.environ | {"PYTHONPATH": str(package)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
        answer: list[str] = json.loads(done.stdout)
        return answer

    return run


@pytest.fixture(scope="module")
def store(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models, imported by the command."""
    store = tmp_path_factory.mktemp("store")
    for name, folder in FOLDERS.items():
        resources = package / "arabic_name_romanizer" / "resources" / folder
        examples = json.dumps(EXAMPLES[name], ensure_ascii=False)
        mapping = resources / "MAPPING.toml"
        mapping.write_text(MAPPING.format(name=name, language=LANGUAGES[name], examples=examples), encoding="utf-8")
        assert main(["import", "onnx", str(mapping), "--model-store", str(store)]) == 0
    return store


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[Client]:
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address, Client(address) as client:
        yield client


@pytest.mark.parametrize("beam_width", [1, 2])
@pytest.mark.parametrize("name", list(FOLDERS))
def test_names_are_those_of_the_packages_own_decoder(
    name: str, beam_width: int, client: Client, ask: Callable[..., list[str]]
) -> None:
    """Alone, and sixteen at a time. The package's own beam width is 2."""
    more = ask(NAMES, persian=name == "persian-names", letters=PERSIAN, count=NUM_NAMES)
    names = [*EXAMPLES[name], *more]
    assert len(names) == len(EXAMPLES[name]) + NUM_NAMES
    wanted = ask(DECODE, folder=FOLDERS[name], beam_width=beam_width, names=names)
    options = DecodingOptions(beam_size=beam_width)

    def translate(text: str) -> str:
        return client.translate([text], model=name, options=options)[0].text

    assert [translate(text) for text in names] == wanted
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(translate, names)) == wanted


@pytest.mark.parametrize("name", list(FOLDERS))
def test_what_rows_may_share_is_said(name: str, client: Client) -> None:
    """The encoders read padding as if it were text."""
    certificate = json.loads(client.get_model(name).certificate_json)
    assert certificate["sharing"] == "encoder: rows of equal source length a run; steps: any rows together"
    assert certificate["agreement"]["num_identical"] == certificate["agreement"]["num_sentences"]
