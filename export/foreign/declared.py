"""What a graph declares of its tensors, held against the roles that a mapping gives them. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping as Names
from typing import Literal, get_args

import numpy as np

from export.errors import ForeignError
from export.foreign.mapping import MaskRole
from service.model.foreign.roles import ForeignAxis, ForeignMask, ForeignTensor, ForeignType
from service.model.session import Session, Tensor

Axes = tuple[ForeignAxis | int, ...]
INTEGERS: tuple[ForeignType, ...] = ("int64", "int32")
MARKS: tuple[ForeignType, ...] = ("bool", "int64", "int32", "float32")
REALS: tuple[ForeignType, ...] = ("float32",)
STATES: tuple[ForeignType, ...] = ("float32", "bool")


class Declared:
    """One graph's inputs and outputs, by name."""

    def __init__(self, file: str, session: Session) -> None:
        """file: what messages call it."""
        self.file = file
        self._inputs = session.inputs
        self._outputs = session.outputs

    def input(self, role: str, name: str) -> Tensor:
        """Raises ForeignError where there is none of that name."""
        return self._find("input", self._inputs, role, name)

    def output(self, role: str, name: str) -> Tensor:
        """Raises ForeignError where there is none of that name."""
        return self._find("output", self._outputs, role, name)

    def dtype(self, role: str, name: str, tensor: Tensor, types: tuple[ForeignType, ...]) -> ForeignType:
        """The type of a tensor that may be of these; raises ForeignError where it is another."""
        for one in types:
            if tensor.dtype == np.dtype(one):
                return one
        found = tensor.dtype if tensor.dtype != np.dtype(object) else "of a type that is not served"
        raise ForeignError(f"{self.file}: {role}: {name} is {found}, not {' or '.join(types)}")

    def ids(self, role: str, name: str, length: ForeignAxis, *, time_major: bool) -> ForeignTensor:
        """Token ids, (batch, length) or (length, batch), or one for each row."""
        tensor = self.input(role, name)
        dtype = self.dtype(role, name, tensor, INTEGERS)
        axes: Axes = (length, "batch") if time_major else ("batch", length)
        if role == "decoder.last_token" and len(tensor.axes) == 1:
            axes = ("batch",)
        self._check_rank(role, name, tensor, {len(axes)})
        fixed = {axis: size for axis, size in zip(axes, tensor.axes, strict=True) if isinstance(size, int)}
        if (size := fixed.get(length, 1)) != 1 or (length in fixed and role != "decoder.last_token"):
            raise ForeignError(f"{self.file}: {role}: {name} has its length fixed to {size}: export it with a free one")
        if fixed.get("batch", 1) != 1:
            raise ForeignError(f"{self.file}: {role}: {name} has its batch fixed to {fixed['batch']}, which is not 1")
        return ForeignTensor(name=name, dtype=dtype, axes=axes)

    def mask(self, role: str, mask: MaskRole | None, length: ForeignAxis, *, time_major: bool) -> ForeignMask | None:
        """(batch, length), (length, batch), or with axes of size 1 between."""
        if mask is None:
            return None
        tensor = self.input(role, mask.input)
        dtype = self.dtype(role, mask.input, tensor, MARKS)
        self._check_rank(role, mask.input, tensor, {2, 3, 4})
        between: Axes = tuple(1 for _ in tensor.axes[1:-1])
        if any(size not in (1, None) and not isinstance(size, str) for size in tensor.axes[1:-1]):
            raise ForeignError(f"{self.file}: {role}: {mask.input} has the axes {list(tensor.axes)}, which are unclear")
        axes: Axes = (length, *between, "batch") if time_major else ("batch", *between, length)
        return ForeignMask(tensor=ForeignTensor(name=mask.input, dtype=dtype, axes=axes), marks=mask.marks)

    def numbers(self, role: str, name: str | None) -> ForeignTensor | None:
        """A number for each row, or one for all of them."""
        if name is None:
            return None
        tensor = self.input(role, name)
        dtype = self.dtype(role, name, tensor, INTEGERS)
        self._check_rank(role, name, tensor, {0, 1, 2} if role == "decoder.positions" else {1, 2})
        axes: Axes = tuple("batch" if place == 0 else 1 for place in range(len(tensor.axes)))
        if role == "decoder.positions" and axes and tensor.axes[0] == 1:
            axes = (1, *axes[1:])
        return ForeignTensor(name=name, dtype=dtype, axes=axes)

    def state(self, role: str, name: str, encoded: Axes | None, *, batch_is_fixed: bool) -> ForeignTensor:
        """A decoder state, with the axes of the encoder's output that it begins as, where there is one."""
        tensor = self.input(role, name)
        dtype = self.dtype(role, name, tensor, STATES)
        if encoded is None:
            return ForeignTensor(name=name, dtype=dtype, axes=self._initial(role, name, tensor, batch_is_fixed))
        self._check_rank(role, name, tensor, {len(encoded)})
        for wanted, size in zip(encoded, tensor.axes, strict=True):
            if isinstance(wanted, int) and isinstance(size, int) and wanted != size:
                raise ForeignError(f"{self.file}: {role}: {name} is {list(tensor.axes)}, the encoder's {list(encoded)}")
        return ForeignTensor(name=name, dtype=dtype, axes=encoded)

    def require_all(self, named: set[str]) -> None:
        """Raises ForeignError for an input that no role names."""
        if others := sorted(self._inputs.keys() - named):
            raise ForeignError(f"{self.file}: its input {others[0]} has no role in the mapping")

    def _initial(self, role: str, name: str, tensor: Tensor, batch_is_fixed: bool) -> Axes:
        """Of a state that begins with zeros: the first free axis is the batch, another one the age."""
        free: list[Literal["batch", "age"]] = ["age"] if batch_is_fixed else ["batch", "age"]
        axes: list[ForeignAxis | int] = []
        for size in tensor.axes:
            if isinstance(size, int):
                axes.append("batch" if batch_is_fixed and size == 1 and "batch" not in axes else size)
            elif free:
                axes.append(free.pop(0))
            else:
                raise ForeignError(f"{self.file}: {role}: {name} has the axes {list(tensor.axes)}, which are unclear")
        if "batch" not in axes:
            raise ForeignError(f"{self.file}: {role}: {name} has the axes {list(tensor.axes)}, and none for the batch")
        return tuple(axes)

    def _check_rank(self, role: str, name: str, tensor: Tensor, ranks: set[int]) -> None:
        if len(tensor.axes) not in ranks:
            wanted = " or ".join(map(str, sorted(ranks)))
            raise ForeignError(f"{self.file}: {role}: {name} has {len(tensor.axes)} axes, not {wanted}")

    def _find(self, kind: str, tensors: Names[str, Tensor], role: str, name: str) -> Tensor:
        if name not in tensors:
            raise ForeignError(f"{self.file}: {role}: there is no {kind} {name!r}; there are {', '.join(tensors)}")
        return tensors[name]


assert set(STATES) | set(MARKS) == set(get_args(ForeignType))
