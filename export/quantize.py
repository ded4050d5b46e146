"""The exact 8-bit form of a graph: a row's result never depends on the rows beside it.

Every product of activations with a constant matrix takes int8 weights with one scale for each output column, and
activations rounded to 8 bits with a scale and a zero point that are constants of the graph, from the ranges that
`export.calibrate` measured (static quantization: Jacob et al. 2018; Wu et al. 2020): no neighbour's outlier can move
them. The products are sums of integers, so they are exact. Embeddings keep one scale for each token, and share their
integers with an output layer that they are tied to. No exact 8-bit node exists for recurrent layers: their weights are
stored as int8, and made floats again when a session is created.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from export.errors import QuantizationError

Array = npt.NDArray[np.generic]
Matrix = npt.NDArray[np.float32]
SMALLEST_MAXIMUM = 1e-8
"""Stands in for the maximum of a column, or of an activation, of zeros."""
FEWEST_COLUMNS = 8
"""A narrower matrix stays float32: rounding its activations would cost more than the product."""


@dataclass(frozen=True)
class Range:
    """The values of an activation lie between `low`, at most 0, and `high`, at least 0; what lies beyond is cut off."""

    low: float
    high: float


def quantize(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """A copy of a float32 graph in which every matrix that activations are multiplied by, or rows are looked up in, or
    that a recurrent node has, is stored as int8. Inputs and outputs are the same. ranges: of every activation that
    `multiplied` names.

    Raises QuantizationError."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Quantizer(copy, ranges).run()
    onnx.checker.check_model(copy)
    return copy


def multiplied(model: onnx.ModelProto) -> tuple[str, ...]:
    """The names of the activations of a float32 graph that are multiplied by a matrix which `quantize` stores."""
    graph = _Graph(model)
    return tuple(dict.fromkeys(node.input[0] for node in model.graph.node if graph.factor(node) is not None))


class _Graph:
    """What a float32 graph says of its constants and of who uses what."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._outputs = Counter(output.name for output in model.graph.output)

    def matrix(self, name: str) -> Matrix | None:
        """A constant of two axes, in float32."""
        tensor = self.constants.get(name)
        if tensor is None or len(tensor.dims) != 2 or tensor.data_type != TensorProto.FLOAT:
            return None
        matrix: Matrix = numpy_helper.to_array(tensor)
        return matrix

    def factor(self, node: onnx.NodeProto) -> Matrix | None:
        """The constant matrix (inputs, outputs) of a product; None of any other node, or where it is too narrow."""
        weight = self.matrix(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is None:
            return None
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if attributes.pop("transB", 0):
            weight = weight.T
        if attributes.get("transA") or any(attributes.get(factor, 1.0) != 1.0 for factor in ("alpha", "beta")):
            raise QuantizationError(f"{node.output[0]} is a Gemm with transA or a factor")
        return weight if weight.shape[1] >= FEWEST_COLUMNS else None

    def only_user(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The one node that reads a value, if it is of a kind and nobody else has the value."""
        users = self._users.get(name, [])
        alone = len(users) == 1 and name not in self._outputs
        return users[0] if alone and users[0].op_type == operator else None

    def only_multiplies(self, name: str) -> bool:
        """Whether a value goes into products of `factor` alone."""
        users = self._users.get(name, [])
        products = [user for user in users if self.factor(user) is not None and user.input[0] == name]
        return bool(users) and len(products) == len(users) and name not in self._outputs


class _Quantizer:
    def __init__(self, model: onnx.ModelProto, ranges: Mapping[str, Range]) -> None:
        self._model = model
        self._float = _Graph(model)
        self._ranges = ranges
        self._constants = dict(self._float.constants)
        self._nodes: list[onnx.NodeProto] = []
        self._absorbed: set[str] = set()
        self._shared: dict[tuple[tuple[int, ...], bytes], str] = {}
        self._tied: set[bytes] = set()
        self._rounded: set[str] = set()
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self._ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in values
            if value.type.tensor_type.HasField("shape")
        }

    def run(self) -> None:
        graph = self._model.graph
        factors = [factor for node in graph.node if (factor := self._float.factor(node)) is not None]
        self._tied = {quantize_columns(weight)[0].tobytes() for weight in factors}
        for node in graph.node:
            factor = self._float.factor(node)
            if node.output[0] in self._absorbed:
                continue
            if factor is not None:
                self._product(node, factor)
            elif node.op_type in ("LSTM", "GRU"):
                self._recurrent(node)
            elif node.op_type == "Gather" and (table := self._float.matrix(node.input[0])) is not None:
                self._lookup(node, table)
            else:
                self._nodes.append(node)
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for name, tensor in self._constants.items() if name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        if "com.microsoft" not in {imported.domain for imported in self._model.opset_import}:
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    def _recurrent(self, node: onnx.NodeProto) -> None:
        for place in (1, 2):
            name = node.input[place]
            weights = numpy_helper.to_array(self._constants[name])
            columns = weights.reshape(-1, weights.shape[-1]).T
            integers, scales = _rounded(columns, np.maximum(np.abs(columns).max(0), SMALLEST_MAXIMUM) / 127)
            stored = self._constant(f"{name}_int8", integers.T.reshape(weights.shape).copy())
            scale = self._constant(f"{name}_scales", scales.reshape(*weights.shape[:-1], 1))
            node.input[place] = self._add(
                "Mul", [self._add("Cast", [stored], f"{name}_float", to=TensorProto.FLOAT), scale], f"{name}_scaled"
            )
        self._nodes.append(node)

    def _product(self, node: onnx.NodeProto, weight: Matrix) -> None:
        """The product, with the bias that is added to it; and with the ReLU behind it, where only products follow: the
        zero of 8 bits without sign cuts off what is negative."""
        name, bias = node.output[0], self._constants.get(node.input[2]) if len(node.input) > 2 else None
        if bias is None and (addition := self._float.only_user(name, "Add")) is not None:
            other = next(each for each in addition.input if each != name)
            bias = self._constants.get(other)
            if bias is not None and tuple(bias.dims) == (weight.shape[1],):
                name = addition.output[0]
                self._absorbed.add(name)
            else:
                bias = None
        integers, scales = quantize_columns(weight)
        rows = self._rows(node.input[0])
        columns = self._integers(f"{name}_weight_int8", integers)
        column_scales = self._constant(f"{name}_weight_scales", scales)
        relu = self._float.only_user(name, "Relu")
        if relu is not None and self._ranks.get(node.input[0]) == 2 and self._float.only_multiplies(relu.output[0]):
            self._absorbed.add(relu.output[0])
            self._rectified_product(relu.output[0], rows, (columns, column_scales), bias)
            return
        inputs = [rows[0], columns, rows[1], column_scales, rows[2]]
        if bias is not None:
            inputs += ["", bias.name]
        self._add("MatMulIntegerToFloat", inputs, name, domain="com.microsoft")

    def _rectified_product(
        self, name: str, rows: tuple[str, str, str], columns: tuple[str, str], bias: TensorProto | None
    ) -> None:
        weight, weight_scales = columns
        scales = numpy_helper.to_array(self._constants[weight_scales])
        zeros = self._constant(f"zeros_int8_{len(scales)}", np.zeros(len(scales), np.int8))
        unit = numpy_helper.to_array(self._constants[rows[1]]) * scales
        shift = "" if bias is None else f"{name}_bias_int32"
        if bias is not None:
            self._constant(shift, np.rint(numpy_helper.to_array(bias) / unit).astype(np.int32))
        _, scale, zero_point = self._rounding(name)
        self._rounded.add(name)
        inputs = [*rows, weight, weight_scales, zeros, shift, scale, zero_point]
        self._add("QGemm", inputs, f"{name}_uint8", domain="com.microsoft")

    def _rows(self, name: str) -> tuple[str, str, str]:
        """An activation in 8 bits without sign, with the names of its scale and its zero point."""
        rounded, scale, zero_point = self._rounding(name)
        if name not in self._rounded:
            self._rounded.add(name)
            self._add("QuantizeLinear", [name, scale, zero_point], rounded)
        return rounded, scale, zero_point

    def _rounding(self, name: str) -> tuple[str, str, str]:
        if name not in self._ranges:
            raise QuantizationError(f"{name} is multiplied by a constant matrix, and its range is not known")
        low, high = self._ranges[name].low, self._ranges[name].high
        scale = max(high - low, SMALLEST_MAXIMUM) / 255
        return (
            f"{name}_uint8",
            self._constant(f"{name}_scale", np.float32(scale)),
            self._constant(f"{name}_zero_point", np.uint8(np.rint(-low / scale))),
        )

    def _lookup(self, node: onnx.NodeProto, matrix: Matrix) -> None:
        if any(attribute.name == "axis" and attribute.i for attribute in node.attribute):
            raise QuantizationError(f"{node.output[0]} does not look up rows")
        integers, scales = quantize_columns(matrix.T)
        source, ids, name = node.input[0], node.input[1], node.output[0]
        if integers.tobytes() in self._tied and self._ranks.get(ids) == 1:
            shared = self._integers(f"{source}_columns_int8", integers)
            columns = self._add("Gather", [shared, ids], f"{name}_lookup_columns", axis=1)
            rows = self._add("Transpose", [columns], f"{name}_lookup_int8", perm=[1, 0])
        else:
            table = self._constant(f"{source}_rows_int8", integers.T.copy())
            rows = self._add("Gather", [table, ids], f"{name}_lookup_int8")
        values = self._add("Cast", [rows], f"{name}_lookup_float", to=TensorProto.FLOAT)
        scale = self._add(
            "Gather", [self._constant(f"{source}_row_scales", scales[:, None]), ids], f"{name}_lookup_scale"
        )
        self._add("Mul", [values, scale], name)

    def _integers(self, name: str, value: npt.NDArray[np.int8]) -> str:
        """A constant that stands in the graph once, however often it is asked for."""
        return self._shared.setdefault((value.shape, value.tobytes()), self._constant(name, value))

    def _constant(self, name: str, value: Array | np.generic) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output


def quantize_columns(matrix: Matrix) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(inputs, outputs) -> int8 of the same shape and scales (outputs,): matrix = integers * scales, nearly.

    Two neighbours of a column that have the same sign, from an even place on, sum up to at most 128 in magnitude.
    Processors without VNNI multiply by VPMADDUBSW, which adds two such products in 16 bits with saturation (Intel SDM,
    volume 2): 255 * 128 still fits, so that every processor gives the same sums.
    """
    even, odd = matrix[0::2], matrix[1::2]
    largest = np.maximum(_pairs(even, odd).max(0), _pairs(-even, -odd).max(0))
    return _rounded(matrix, np.maximum(largest, SMALLEST_MAXIMUM) / 127)


def _pairs(even: Matrix, odd: Matrix) -> Matrix:
    """Sums of what is positive in two neighbours."""
    sums = np.maximum(even, 0.0)
    sums[: len(odd)] += np.maximum(odd, 0.0)
    return sums


def _rounded(matrix: Matrix, scales: Matrix) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales.astype(np.float32)
