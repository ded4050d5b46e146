"""Every way in which a version can be wrong: each a function that does it to a folder, and the reason to be told.

`FILES` leave the manifest as it was; of `SEALED` ones the manifest has every hash, so that only what the files say can
give them away.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.faults.versions import SHIPPED, Change, edit_manifest, seal_version

GRAPH = "encoder.onnx"


def _write(name: str, content: bytes | Callable[[bytes], bytes]) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(content(path.read_bytes()) if callable(content) else content)

    return change


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _elsewhere(folder: Path, name: str) -> Path:
    """Move a file out of the folder."""
    target = folder.parent.parent / f"outside-{folder.name}-{name}"
    (folder / name).rename(target)
    return target


def _symlink(folder: Path) -> None:
    (folder / GRAPH).symlink_to(_elsewhere(folder, GRAPH))


def _hardlink(folder: Path) -> None:
    (folder / GRAPH).hardlink_to(_elsewhere(folder, GRAPH))


def _symlinked_manifest(folder: Path) -> None:
    (folder / "manifest.json").symlink_to(_elsewhere(folder, "manifest.json"))


def _pipe(folder: Path) -> None:
    (folder / GRAPH).unlink()
    os.mkfifo(folder / GRAPH)


def _socket(folder: Path) -> None:
    (folder / GRAPH).unlink()
    os.mknod(folder / GRAPH, 0o140644)


def _folder(folder: Path) -> None:
    (folder / GRAPH).unlink()
    (folder / GRAPH).mkdir()


def _huge(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {GRAPH: files[GRAPH] | {"size": 2**40}})


def _sparse(folder: Path) -> None:
    """A file without content of half a gigabyte, as the manifest says."""
    os.truncate(folder / GRAPH, 2**29)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {GRAPH: files[GRAPH] | {"size": 2**29}})


FILES: dict[str, tuple[Change, str]] = {
    "an empty graph": (_write(GRAPH, b""), "FILE"),
    "half a graph": (_write(GRAPH, lambda content: content[: len(content) // 2]), "FILE"),
    "a graph with one other bit": (_write(GRAPH, _flip), "FILE"),
    "random bytes": (_write(GRAPH, lambda content: os.urandom(len(content))), "FILE"),
    "a certificate with one other bit": (_write("certificate.json", _flip), "FILE"),
    "a missing file": (lambda folder: (folder / GRAPH).unlink(), "FILE"),
    "a file that is not listed": (lambda folder: (folder / "more").touch(), "FILE"),
    "a symbolic link to a file": (_symlink, "FILE"),
    "a hard link to a file": (_hardlink, "FILE"),
    "a symbolic link to a manifest": (_symlinked_manifest, "MANIFEST"),
    "a pipe for a file": (_pipe, "FILE"),
    "a socket for a file": (_socket, "FILE"),
    "a folder for a file": (_folder, "FILE"),
    "a size beyond what a graph can have": (_huge, "MANIFEST"),
    "half a gigabyte of nothing": (_sparse, "FILE"),
    "an empty manifest": (_write("manifest.json", b""), "MANIFEST"),
    "a manifest that is no JSON": (_write("manifest.json", os.urandom(1000)), "MANIFEST"),
    "a manifest as deep as it is long": (_write("manifest.json", b"[" * 500_000), "MANIFEST"),
    "a manifest of two megabytes": (_write("manifest.json", b" " * 2**21), "MANIFEST"),
    "another model's name": (lambda folder: edit_manifest(folder, name="other"), "MANIFEST"),
    "another version's number": (lambda folder: edit_manifest(folder, version=77), "MANIFEST"),
    "a path for a file's name": (lambda folder: edit_manifest(folder, encoder="../1/encoder.onnx"), "MANIFEST"),
}


def _graph(change: Callable[[onnx.ModelProto], None]) -> Change:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / GRAPH, load_external_data=False)
        change(model)
        (folder / GRAPH).write_bytes(model.SerializeToString())

    return apply


def _external(tensor: TensorProto, location: str = "weights.bin") -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.ClearField("raw_data")


def _external_weight(location: str) -> Change:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / GRAPH)
        tensor = next(one for one in model.graph.initializer if one.raw_data)
        (folder / "weights.bin").write_bytes(tensor.raw_data)
        _external(tensor, location)
        (folder / GRAPH).write_bytes(model.SerializeToString())

    return apply


def _branch(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [value])


def _add(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes that nothing depends on, at the beginning."""
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def _constant(name: str, *, external: bool = False) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    if external:
        _external(tensor)
    return helper.make_node("Constant", [], [name], value=tensor)


def _external_in_branch(model: onnx.ModelProto) -> None:
    condition = helper.make_node(
        "Constant", [], ["always"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])
    )
    outside = _branch(_constant("outside", external=True), output="outside")
    inside = _branch(_constant("inside"), output="inside")
    _add(model, condition, helper.make_node("If", ["always"], ["chosen"], then_branch=outside, else_branch=inside))


def _foreign(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="evil", version=1)
    _add(model, helper.make_node("Run", [], ["ran"], domain="evil"))


def _foreign_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("evil", "Run", ["x"], ["y"], body, opsets))


def _foreign_in_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Run", ["x"], ["y"], domain="evil")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("com.microsoft", "Mine", ["x"], ["y"], body, opsets))


def _reads_a_file(model: onnx.ModelProto) -> None:
    _add(model, helper.make_node("EPContext", ["source_ids"], ["e"], domain="com.microsoft", ep_cache_context="../x"))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _another_name(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "sources")
    model.graph.input[0].name = "sources"


def _another_type(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "wide")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    _add(model, helper.make_node("Cast", ["source_ids"], ["wide"], to=TensorProto.INT64))


def _another_rank(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "flat")
    model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    axis = helper.make_node("Constant", [], ["axis"], value=helper.make_tensor("t", TensorProto.INT64, [1], [2]))
    _add(model, axis, helper.make_node("Squeeze", ["source_ids", "axis"], ["flat"]))


def _after(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes that end in "nothing", a scalar, of which a part of the first output is made."""
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if one == name else one for one in node.output]
    _rename(model.graph, name, f"{name}_before")
    _add(model, *nodes)
    model.graph.node.append(helper.make_node("Add", [f"{name}_before", "nothing"], [name]))


def _integer(name: str, value: int, shape: tuple[int, ...] = ()) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, shape, [value])
    return helper.make_node("Constant", [], [name], value=tensor)


def _memory_bomb(model: onnx.ModelProto) -> None:
    _after(
        model,
        _integer("much", 2**36, (1,)),
        helper.make_node("ConstantOfShape", ["much"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["nothing"], keepdims=0),
    )


def _time_bomb(model: onnx.ModelProto) -> None:
    true = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    zero = helper.make_tensor("z", TensorProto.FLOAT, [], [0.0])
    _after(
        model,
        helper.make_node("Constant", [], ["start"], value=zero),
        helper.make_node("Constant", [], ["yes"], value=true),
        helper.make_node("Loop", ["", "yes", "start"], ["nothing"], body=body),
    )


def _sizes(**sizes: int) -> Change:
    def change(folder: Path) -> None:
        vocabulary = json.loads((folder / "manifest.json").read_text())["vocabulary"]
        edit_manifest(folder, vocabulary=vocabulary | sizes)

    return change


def _other_vocabulary(folder: Path) -> None:
    shutil.copyfile(SHIPPED / "en-ko-transformer" / "1" / "vocabulary.model", folder / "vocabulary.model")


def _other_golden(folder: Path) -> None:
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["golden"][0]["target_ids"][0] ^= 1
    (folder / "certificate.json").write_text(json.dumps(certificate))


SEALED: dict[str, tuple[Change, str]] = {
    "random bytes for a graph": (_write(GRAPH, os.urandom(5000)), "GRAPH"),
    "half a graph, sealed": (_write(GRAPH, lambda content: content[: len(content) // 2]), "GRAPH"),
    "the other graph": (lambda f: shutil.copyfile(f / "decoder_step.onnx", f / GRAPH), "GRAPH"),
    "weights in a file beside": (_external_weight("weights.bin"), "GRAPH"),
    "weights above the folder": (_external_weight("../weights.bin"), "GRAPH"),
    "weights at an absolute path": (_external_weight("/etc/passwd"), "GRAPH"),
    "weights at an address": (_external_weight("*/_ORT_MEM_ADDR_/*"), "GRAPH"),
    "weights of a branch in a file": (_graph(_external_in_branch), "GRAPH"),
    "an operator of another domain": (_graph(_foreign), "GRAPH"),
    "a function of another domain": (_graph(_foreign_function), "GRAPH"),
    "a function that calls another domain": (_graph(_foreign_in_function), "GRAPH"),
    "an operator that reads files": (_graph(_reads_a_file), "GRAPH"),
    "another name of an input": (_graph(_another_name), "GRAPH"),
    "another type of an input": (_graph(_another_type), "GRAPH"),
    "another rank of an input": (_graph(_another_rank), "GRAPH"),
    "more memory than there is": (_graph(_memory_bomb), "CERTIFICATE"),
    "a loop that never ends": (_graph(_time_bomb), "TIMEOUT"),
    "a vocabulary that is none": (_write("vocabulary.model", os.urandom(5000)), "VOCABULARY"),
    "a vocabulary of another model": (_other_vocabulary, "VOCABULARY"),
    "another size of the source vocabulary": (_sizes(source_size=100), "VOCABULARY"),
    "another size of the target vocabulary": (_sizes(target_size=100), "GRAPH"),
    "a certificate that is none": (_write("certificate.json", os.urandom(500)), "CERTIFICATE"),
    "a certificate as deep as it is long": (_write("certificate.json", b'{"a":' * 200_000), "CERTIFICATE"),
    "a golden sentence of another model": (_other_golden, "CERTIFICATE"),
}


def sealed(change: Change) -> Change:
    """The change, then the hashes of what it left."""

    def apply(folder: Path) -> None:
        change(folder)
        seal_version(folder)

    return apply
