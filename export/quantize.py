"""The exact 8-bit form of a graph: a row's result never depends on the rows beside it.

Every product of activations with a constant matrix takes int8 weights with one scale for each output column, and
activations rounded to 8 bits with one scale for each row (not for the whole tensor: that would let a neighbour's
outlier move a result). The products are sums of integers, so they are exact. Embeddings keep one scale for each token,
and share their integers with an output layer that they are tied to. No exact 8-bit node exists for recurrent layers:
their weights are stored as int8, and made floats again when a session is created.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from export.errors import QuantizationError

Array = npt.NDArray[np.generic]
SMALLEST_ROW_MAXIMUM = 1e-8
"""Stands in for the maximum of a row of zeros."""
FEWEST_COLUMNS = 8
"""A narrower matrix stays float32: rounding its activations would cost more than the product."""


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 graph in which every matrix that activations are multiplied by, or rows are looked up in, or
    that a recurrent node has, is stored as int8. Inputs and outputs are the same.

    Raises QuantizationError."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Quantizer(copy).run()
    onnx.checker.check_model(copy)
    return copy


class _Quantizer:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._zeros: dict[int, str] = {}
        self._shared: dict[tuple[tuple[int, ...], bytes], str] = {}
        self._tied: set[bytes] = set()
        self._activations: dict[str, tuple[str, str]] = {}
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self._ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in values
            if value.type.tensor_type.HasField("shape")
        }

    def run(self) -> None:
        factors = [factor[0] for node in self._graph.node if (factor := self._factor(node)) is not None]
        self._tied = {quantize_columns(weight)[0].tobytes() for weight in factors}
        for node in self._graph.node:
            factor = self._factor(node)
            if factor is not None:
                self._product(node, *factor)
            elif node.op_type in ("LSTM", "GRU"):
                self._recurrent(node)
            elif node.op_type == "Gather" and (table := self._matrix(node.input[0])) is not None:
                self._lookup(node, table)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for name, tensor in self._constants.items() if name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        if "com.microsoft" not in {imported.domain for imported in self._model.opset_import}:
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    def _factor(self, node: onnx.NodeProto) -> tuple[npt.NDArray[np.float32], str] | None:
        """The constant matrix (inputs, outputs) of a product and how the graph has it, or None."""
        weight = self._matrix(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is None:
            return None
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        orientation = "plain"
        if attributes.pop("transB", 0):
            weight, orientation = weight.T, "transposed"
        if attributes.get("transA") or any(attributes.get(factor, 1.0) != 1.0 for factor in ("alpha", "beta")):
            raise QuantizationError(f"{node.output[0]} is a Gemm with transA or a factor")
        return (weight, orientation) if weight.shape[1] >= FEWEST_COLUMNS else None

    def _recurrent(self, node: onnx.NodeProto) -> None:
        for place in (1, 2):
            name = node.input[place]
            weights = numpy_helper.to_array(self._constants[name])
            columns = weights.reshape(-1, weights.shape[-1]).T
            integers, scales = quantize_columns(columns)
            stored = self._constant(f"{name}_int8", integers.T.reshape(weights.shape).copy())
            scale = self._constant(f"{name}_scales", scales.reshape(*weights.shape[:-1], 1))
            node.input[place] = self._add(
                "Mul", [self._add("Cast", [stored], f"{name}_float", to=TensorProto.FLOAT), scale], f"{name}_scaled"
            )
        self._nodes.append(node)

    def _product(self, node: onnx.NodeProto, weight: npt.NDArray[np.float32], orientation: str) -> None:
        integers, scales = quantize_columns(weight)
        rows, row_scales = self._quantized_rows(node.input[0], weight.shape[0])
        name = node.output[0]
        product = self._add(
            "MatMulIntegerToFloat",
            [
                rows,
                self._integers(f"{node.input[1]}_{orientation}_int8", integers),
                self._constant("one", np.float32(1.0)),
                self._constant(f"{node.input[1]}_{orientation}_scales", scales),
                self._constant("zero_point", np.uint8(128)),
            ],
            f"{name}_columns",
            domain="com.microsoft",
        )
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        reshaped = self._rank(node.input[0]) == 3
        scaled = self._add("Mul", [product, row_scales], f"{name}_rows" if bias or reshaped else name)
        if bias:
            scaled = self._add("Add", [scaled, bias], f"{name}_biased" if reshaped else name)
        if reshaped:
            shape = self._add("Shape", [node.input[0]], f"{name}_input_shape")
            leading = self._add(
                "Slice",
                [shape, self._constant("zero_1d", np.array([0])), self._constant("two_1d", np.array([2]))],
                f"{name}_leading_shape",
            )
            last = self._constant(f"size_{weight.shape[1]}", np.array([weight.shape[1]]))
            whole = self._add("Concat", [leading, last], f"{name}_shape", axis=0)
            self._add("Reshape", [scaled, whole], name)

    def _quantized_rows(self, name: str, size: int) -> tuple[str, str]:
        """uint8 rows (rows, size) with zero point 128, and their scales (rows, 1), of a float activation."""
        if name not in self._activations:
            flat = name
            if self._rank(name) == 3:
                flat = self._add(
                    "Reshape", [name, self._constant(f"rows_of_{size}", np.array([-1, size]))], f"{name}_flat"
                )
            magnitude = self._add("Abs", [flat], f"{name}_magnitude")
            largest = self._add(
                "ReduceMax", [magnitude, self._constant("last_axis", np.array([-1]))], f"{name}_largest", keepdims=0
            )
            smallest = self._constant("smallest_row_maximum", np.float32(SMALLEST_ROW_MAXIMUM))
            positive = self._add("Max", [largest, smallest], f"{name}_positive")
            scale = self._add("Mul", [positive, self._constant("one_127th", np.float32(1 / 127))], f"{name}_row_scale")
            zeros = self._zero_points(scale, self._rank(name))
            rows = self._add("QuantizeLinear", [flat, scale, zeros], f"{name}_uint8", axis=0)
            column = self._add("Unsqueeze", [scale, self._constant("last_axis", np.array([-1]))], f"{name}_scales")
            self._activations[name] = rows, column
        return self._activations[name]

    def _zero_points(self, scale: str, rank: int) -> str:
        """(rows,) zero points of every activation of a rank: the number of rows is the batch, or the batch times the
        source length, all through a graph."""
        if rank not in self._zeros:
            shape = self._add("Shape", [scale], f"{scale}_num_rows")
            point = self._constant("zero_point", np.uint8(128))
            self._zeros[rank] = self._add("Expand", [point, shape], f"{scale}_zero_points")
        return self._zeros[rank]

    def _rank(self, name: str) -> int:
        rank = self._ranks.get(name)
        if rank not in (2, 3):
            raise QuantizationError(f"{name} is multiplied by a constant matrix, but has the rank {rank}, not 2 or 3")
        return rank

    def _lookup(self, node: onnx.NodeProto, matrix: npt.NDArray[np.float32]) -> None:
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

    def _matrix(self, name: str) -> npt.NDArray[np.float32] | None:
        tensor = self._constants.get(name)
        if tensor is None or len(tensor.dims) != 2 or tensor.data_type != TensorProto.FLOAT:
            return None
        matrix: npt.NDArray[np.float32] = numpy_helper.to_array(tensor)
        return matrix

    def _integers(self, name: str, value: npt.NDArray[np.int8]) -> str:
        """A constant that stands in the graph once, however often it is asked for."""
        return self._shared.setdefault((value.shape, value.tobytes()), self._constant(name, value))

    def _constant(self, name: str, value: Array | np.generic) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output


def quantize_columns(matrix: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(inputs, outputs) -> int8 of the same shape and scales (outputs,): matrix = integers * scales, nearly."""
    scales = np.maximum(np.abs(matrix).max(0), SMALLEST_ROW_MAXIMUM) / 127
    integers = np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8)
    return integers, scales.astype(np.float32)
