"""A table that both graphs look rows up in is one in memory for as long as one of them is used, and changes no bit."""

import gc
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.heap import trim
from service.model import graph_tables
from service.model.errors import GraphError
from service.model.greedy import translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.private_file import in_memory
from service.model.session import Session
from service.model.tables import VersionTables

SOURCES = [[5, 6, 7, 2], [8, 2], [9, 10, 11, 12, 13, 2]]
MEBIBYTE = 2**20


def lookup(rows, name):
    """A graph that gives rows of a table of so many MiB."""
    array = np.random.default_rng(1).standard_normal((rows, 256 * 1024), np.float32)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    found = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", array.shape[1]])
    node = helper.make_node("Gather", [name, "ids"], ["x"])
    graph = helper.make_graph([node], "g", [ids], [found], [numpy_helper.from_array(array, name)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return array, model.SerializeToString()


def sessions_of(contents, scratch=None):
    """A session of each graph, and the addresses of their tables."""
    made, addresses = [], []
    with VersionTables(scratch) as tables:
        for content in contents:
            with in_memory("graph", content) as graph, tables.taken_from(graph, "it") as (rest, taken):
                made.append(Session(Path("it"), num_threads=1, file=rest, tables=taken))
                addresses += [array.ctypes.data for array in taken.values()]
    return made, addresses


def held():
    """Bytes of this process, with what it maps of files in memory."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def mapped_tables():
    """Files of tables that this process maps, by the numbers of their inodes."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if "/memfd:table" in line}


def test_two_graphs_take_the_memory_of_one_table():
    size = 96
    array, first = lookup(size, "first")
    _, second = lookup(size, "second")
    gc.collect()
    trim()
    before = held()
    made, addresses = sessions_of([first, second])
    assert addresses[0] == addresses[1]
    for one in made:
        for row in range(size):
            np.testing.assert_array_equal(one.run({"ids": np.array([row])})["x"][0], array[row])
    gc.collect()
    assert size * MEBIBYTE < held() - before < 1.5 * size * MEBIBYTE


def test_tables_that_differ_are_two():
    array, first = lookup(4, "table")
    other = first.replace(array[-1].tobytes(), array[0].tobytes())
    made, addresses = sessions_of([first, other])
    assert addresses[0] != addresses[1]
    last = [one.run({"ids": np.array([3])})["x"][0] for one in made]
    np.testing.assert_array_equal(last, [array[3], array[0]])


def test_on_a_disk_only_the_rows_that_are_looked_up_come_into_memory(tmp_path):
    array, content = lookup(96, "table")
    before = int(Path("/proc/self/statm").read_text().split()[1])
    (one,), _ = sessions_of([content], tmp_path)
    np.testing.assert_array_equal(one.run({"ids": np.array([7])})["x"][0], array[7])
    after = int(Path("/proc/self/statm").read_text().split()[1])
    assert (after - before) * os.sysconf("SC_PAGE_SIZE") < 48 * MEBIBYTE
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_graph_is_refused():
    with VersionTables(None) as tables, in_memory("graph", b"\x3a\x05abc") as graph, pytest.raises(GraphError):
        tables.taken_from(graph, "it").__enter__()


@pytest.fixture(scope="module")
def version(make_tiny, load_graphs):
    """Of a model whose embedding both graphs look rows up in, and that multiplies by it as well."""
    tiny = make_tiny("post_norm")
    return load_graphs(tiny, tiny.graphs).folder


@pytest.fixture
def _small_ones_count(monkeypatch):
    monkeypatch.setattr(graph_tables, "SMALLEST", 1)


def test_the_embedding_of_this_model_is_used_in_both_ways(version):
    step = onnx.load(version / "decoder_step.onnx")
    used = {node.op_type for node in step.graph.node if "model.embedding.weight" in node.input}
    assert used == {"Gather", "Gemm"}


@pytest.mark.usefixtures("_small_ones_count")
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_translations_and_states_are_the_same_to_the_last_bit(place, version, tmp_path, monkeypatch):
    before = mapped_tables()
    model = OnnxModel(version, num_threads=1, scratch=tmp_path if place == "disk" else None)
    assert (len(mapped_tables() - before) > 0) == (place == "memory")
    found = translate_greedily(model, SOURCES, max_length=20)
    ids, lengths = np.array([SOURCES[2]]), np.array([6])
    encoded = model.encode(ids, lengths)
    monkeypatch.setattr(graph_tables, "SMALLEST", 2**40)
    whole = OnnxModel(version, num_threads=1)
    assert found == translate_greedily(whole, SOURCES, max_length=20)
    for name, value in whole.encode(ids, lengths).items():
        np.testing.assert_array_equal(encoded[name], value)


@pytest.mark.usefixtures("_small_ones_count")
def test_tables_are_there_for_as_long_as_a_bound_step_and_no_longer(version):
    gc.collect()
    before = mapped_tables()
    model = OnnxModel(version, num_threads=1)
    source_ids, lengths = np.array([SOURCES[0]]), np.array([4])
    states = {name: value.copy() for name, value in model.encode(source_ids, lengths).items()}
    for state in model.manifest.states_of("growing", "noise"):
        states[state.name] = np.zeros(state.shape(batch=1, source_length=4, capacity=16), np.float32)
    inputs = {"token_ids": np.array([1]), "positions": np.array([0]), "source_lengths": lengths, **states}
    logits = np.zeros((1, model.manifest.vocabulary.target_size), np.float32)
    bound = model.bind_step(inputs, {"logits": logits})
    bound.run()
    wanted = logits.copy()
    del model
    gc.collect()
    assert mapped_tables() - before
    logits[:] = 0
    bound.run()
    np.testing.assert_array_equal(logits, wanted)
    del bound
    gc.collect()
    assert mapped_tables() == before
