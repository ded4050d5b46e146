"""Memory of the host: zeros that can be written, and rows of what is there."""

import numpy as np
import pytest

from service.model.memory import host_zeros, on_host


@pytest.mark.parametrize("shape", [(3, 4, 5), (1,), (0, 7)])
def test_zeros_can_be_written_and_keep_their_shape(shape):
    array = host_zeros(shape)
    assert (array.shape, array.dtype) == (shape, np.float32)
    assert not array.any()
    array[...] = 2.5
    assert (array == 2.5).all()


def test_rows_of_memory_begin_where_the_array_has_them():
    array = host_zeros((6, 4))
    rows = on_host(array).rows(2, 5)
    assert rows.shape == (3, 4)
    assert rows.address == array[2:].ctypes.data
