"""A worker without Ray, on a shipped model: the same bytes whatever the shards, and bad lines reported alone."""

import gzip
import json
from pathlib import Path

import pytest

from service.corpora.formats.format import Fields, open_format
from service.corpora.inputs import plan_shards
from service.corpora.job import Job
from service.corpora.model import find_model, load
from service.corpora.translating import SentenceTranslator
from service.corpora.worker import ShardWorker
from service.engine.request import Sampling
from service.options import Options

ROOT = Path(__file__).parents[3]
STORE = ROOT / "model_store"
CAPTIONS = gzip.decompress((ROOT / "tests" / "data" / "multi30k" / "test_2016_flickr.en.gz").read_bytes()).decode()
TOO_LONG = "word " * 3_000


@pytest.fixture(scope="module")
def model():
    return find_model(STORE, "en-de-transformer", 0)


@pytest.fixture
def make_worker(model, tmp_path):
    """make_worker(form, options) -> a worker that writes into tmp_path / "out"; its engine ends with the test."""
    (tmp_path / "out" / "errors").mkdir(parents=True)
    workers = []

    def make(form="text", options=Options()):  # noqa: B008
        worker = ShardWorker(Job(model, options, form, Fields(), tmp_path / "out"))
        workers.append(worker)
        return worker

    yield make
    for worker in workers:
        worker._translator.stop()


def translate(worker, path, form="text", *, max_lines):
    """What all shards hold together, and their records."""
    shards = list(plan_shards([path], open_format(form, Fields()), max_lines=max_lines))
    records = [worker.translate(shard) for shard in shards]
    return b"".join((path.parent / "out" / record.file).read_bytes() for record in records), records


@pytest.mark.parametrize(
    "options",
    [Options(), Options(beam_size=3, length_penalty=0.5), Options(sampling=Sampling(top_p=0.9), seed=3)],
    ids=["greedy", "beam", "sampling"],
)
def test_a_line_is_translated_the_same_whatever_shard_it_is_in(make_worker, tmp_path, options):
    path = tmp_path / "in.txt"
    path.write_text("".join(CAPTIONS.splitlines(keepends=True)[:60]))
    worker = make_worker(options=options)
    outputs = [translate(worker, path, max_lines=max_lines) for max_lines in (7, 60)]
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][0].count(b"\n") == 60
    assert len({sum(record.num_tokens for record in records) for _, records in outputs}) == 1


def test_a_line_that_fails_is_empty_and_reported_by_its_number_and_stops_nothing(make_worker, tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes(f"Two dogs.\n{TOO_LONG}\n\nA man.\n".encode() + b"\xff\nA boy.\n")
    worker = make_worker()
    output, records = translate(worker, path, max_lines=4)
    lines = output.decode().splitlines()
    assert [bool(line) for line in lines] == [True, False, False, True, False, True]
    assert [record.num_errors for record in records] == [1, 1]
    errors = [
        json.loads(line)
        for record in records
        for line in (tmp_path / "out" / "errors" / f"{Path(record.file).stem}.jsonl").read_text().splitlines()
    ]
    assert [(error["file"], error["line"]) for error in errors] == [("in.txt", 2), ("in.txt", 5)]
    assert "tokens; this model takes at most" in errors[0]["error"]
    assert errors[1]["error"] == "the line is not UTF-8"


def test_without_errors_there_is_no_errors_file(make_worker, tmp_path):
    (tmp_path / "in.txt").write_text("A man.\n")
    translate(make_worker(), tmp_path / "in.txt", max_lines=4)
    assert not list((tmp_path / "out" / "errors").iterdir())


def test_the_same_text_is_translated_the_same_in_every_format(make_worker, tmp_path):
    texts = CAPTIONS.splitlines()[:20]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    plain, _ = translate(make_worker(), tmp_path / "in.txt", max_lines=8)
    objects, _ = translate(make_worker("jsonl"), tmp_path / "in.jsonl", "jsonl", max_lines=8)
    assert [json.loads(line)["translation"] for line in objects.splitlines()] == plain.decode().splitlines()


def test_a_shard_that_is_translated_again_has_the_same_files_and_no_others(make_worker, tmp_path):
    path = tmp_path / "in.txt"
    path.write_text(f"A man.\n{TOO_LONG}\n")
    worker = make_worker()
    (shard,) = plan_shards([path], open_format("text", Fields()), max_lines=8)

    def files():
        return {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}

    first = worker.translate(shard)
    before = files()
    again = worker.translate(shard)
    assert again.sha256 == first.sha256
    assert files() == before
    assert len(before) == 2


def test_a_worker_answers_with_a_record_or_with_the_problem(make_worker, tmp_path):
    (tmp_path / "in.txt").write_text("A man.\n")
    worker = make_worker()
    (shard,) = plan_shards([tmp_path / "in.txt"], open_format("text", Fields()), max_lines=8)
    answer = worker({"shard": [shard.to_json()]})
    assert answer["problem"] == [""]
    (tmp_path / "in.txt").unlink()
    answer = worker({"shard": [shard.to_json()]})
    assert answer["record"] == [""]
    assert "in.txt" in answer["problem"][0]


def test_two_engines_of_one_worker_translate_the_same(model):
    texts = CAPTIONS.splitlines()[:30]
    outputs = []
    for num_cpus in (1, 2):
        translator = SentenceTranslator(load(model, num_cpus=num_cpus), Options(), num_rows=64 * num_cpus)
        translator.start()
        outputs.append(translator.translate(texts))
        translator.stop()
    assert outputs[0] == outputs[1]
