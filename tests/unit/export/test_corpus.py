"""The corpus arrives whole or not at all, from a real socket."""

import gzip
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from export.cli import main
from export.corpora.multi30k import SPLITS, fetch_multi30k
from export.errors import CorpusError
from export.training.data import read_lines


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def published(tmp_path):
    """Yields a folder and the address at which it is served."""
    folder = tmp_path / "published"
    folder.mkdir()
    for split, languages in SPLITS.items():
        for language in languages:
            text = f"Side {language} of l'haus.\n"
            (folder / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_split_arrives_with_tokenized_tests(published, tmp_path):
    _, url = published
    corpus = tmp_path / "corpus"
    fetch_multi30k(corpus, url)
    assert read_lines(corpus, "train", "cs") == ["Side cs of l'haus."]
    assert read_lines(corpus / "lc_tok", "test_2017_flickr", "fr") == ["side fr of l&apos; haus ."]
    assert len(list(corpus.glob("*.gz"))) == sum(map(len, SPLITS.values()))
    assert len(list((corpus / "lc_tok").iterdir())) == 7


def test_what_is_there_is_not_fetched_again(published, tmp_path):
    _, url = published
    corpus = tmp_path / "corpus"
    made = fetch_multi30k(corpus, url)
    assert fetch_multi30k(corpus, url) == []
    (corpus / "val.en.gz").unlink()
    assert fetch_multi30k(corpus, url) == [corpus / "val.en.gz"]
    assert corpus / "val.en.gz" in made


@pytest.mark.parametrize(
    "content",
    [b"<html>", gzip.compress(b"two lines\n")[:-4], gzip.compress(b"\xff\xfe\n")],
    ids=["not packed", "cut off", "no UTF-8"],
)
def test_a_file_that_is_no_packed_text_is_refused_and_not_kept(content, published, tmp_path):
    folder, url = published
    (folder / "train.de.gz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"train.de.gz is no gzip file of UTF-8 text"):
        fetch_multi30k(tmp_path / "corpus", url)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["train.en.gz"]


def test_a_missing_file_or_server_is_one_clear_line(published, tmp_path, capsys):
    folder, url = published
    (folder / "train.en.gz").unlink()
    output = str(tmp_path / "corpus")
    assert main(["fetch-corpus", "multi30k", "--output", output, "--base-url", url]) == 1
    assert main(["fetch-corpus", "--output", output, "--base-url", "http://127.0.0.1:1"]) == 1
    assert main(["fetch-corpus", "--output", output, "--base-url", "file:///etc"]) == 1
    missing, unreachable, no_address = capsys.readouterr().err.splitlines()
    assert missing == f"stepstream-export fetch-corpus: {url}/train.en.gz cannot be fetched: File not found"
    assert unreachable.endswith("cannot be fetched: [Errno 111] Connection refused")
    assert no_address.endswith("file:///etc/train.en.gz is no http or https address")
