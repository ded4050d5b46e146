"""Between arrays whose axes we order and tensors whose axes a foreign graph orders. It does not know what they hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.model.foreign.roles import ForeignTensor
from service.model.session import Array


def to_tensor(array: Array, axes: Sequence[str], tensor: ForeignTensor) -> Array:
    """An array with these axes as a graph's input: in the graph's order, with its axes of size 1 put in."""
    ordered = array.transpose([axes.index(axis) for axis in tensor.axes if isinstance(axis, str)])
    sizes = iter(ordered.shape)
    shape = [next(sizes) if isinstance(axis, str) else axis for axis in tensor.axes]
    return np.ascontiguousarray(ordered.reshape(shape), tensor.dtype)


def from_tensor(array: Array, axes: Sequence[str], tensor: ForeignTensor) -> Array:
    """A graph's output with these axes, those of size 1 left out."""
    named = [(axis, size) for axis, size in zip(tensor.axes, array.shape, strict=True) if isinstance(axis, str)]
    names: list[str] = [axis for axis, _ in named]
    return array.reshape([size for _, size in named]).transpose([names.index(axis) for axis in axes])


def state_to_tensor(array: Array, tensor: ForeignTensor) -> Array:
    """A state, whose rows come first, as a graph's input."""
    return np.ascontiguousarray(np.moveaxis(array, 0, tensor.axes.index("batch")), tensor.dtype)


def state_from_tensor(array: Array, tensor: ForeignTensor) -> Array:
    """A graph's output with its rows first."""
    return np.moveaxis(array, tensor.axes.index("batch"), 0)


def state_axes(tensor: ForeignTensor) -> tuple[str | int, ...]:
    """The axes of a state as the manifest has them: rows first, and "capacity" where the graph has the age."""
    return ("batch", *("capacity" if axis == "age" else axis for axis in tensor.axes if axis != "batch"))


def along(axes: Sequence[str | int], **windows: slice) -> tuple[slice, ...]:
    """The index that takes these windows of the axes with these names, and everything of the others."""
    return tuple(windows.get(str(axis), slice(None)) for axis in axes)
