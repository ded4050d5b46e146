"""`python -m benchmarks.kernels`: what this machine can do at best with a number of cores: bytes read a second and
8-bit integer operations a second, each of several kernels and sizes, as a line of JSON.

In a process of its own, so that the number of threads is that of every library from the start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.int64]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LARGE_BYTES = 10**9
SHAPES = ((64, 512, 2048), (256, 1024, 1024), (512, 2048, 2048), (1024, 1024, 1024))
"""Rows, inner size and columns of the products that are tried."""
READ_SECONDS = 0.08
PRODUCT_SECONDS = 0.05


@dataclass(frozen=True)
class Best:
    """The best rate of all kernels tried, and the kernel."""

    rate: float
    kernel: str


@dataclass(frozen=True)
class Limits:
    """Bytes a second of a buffer of some bytes and of LARGE_BYTES; multiplications and additions of 8-bit integers a
    second."""

    read: Best
    read_large: Best
    operations: Best


def limits(*, num_threads: int, num_bytes: int) -> Limits:
    """Measure once, in a process with this number of threads."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(num_threads))
    command = [sys.executable, "-m", "benchmarks.kernels", str(num_threads), str(num_bytes)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return parse(done.stdout)


def parse(line: str) -> Limits:
    """What the process printed."""
    return Limits(**{name: Best(**best) for name, best in json.loads(line).items()})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("num_threads", type=int)
    parser.add_argument("num_bytes", type=int, help="of the smaller buffer to read")
    options = parser.parse_args()
    found = Limits(
        read=best_read(options.num_threads, options.num_bytes),
        read_large=best_read(options.num_threads, LARGE_BYTES),
        operations=best_product(options.num_threads),
    )
    print(json.dumps({name: vars(best) for name, best in vars(found).items()}))


def best_read(num_threads: int, num_bytes: int) -> Best:
    """Each thread reads its share of the buffer over and over."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    parts = np.array_split(np.ones(num_bytes // 8, np.int64), num_threads)

    def dot(part: Words) -> object:
        floats = torch.from_numpy(part).view(torch.float32)
        return torch.dot(floats, floats)

    kernels: dict[str, Callable[[Words], object]] = {
        "numpy bitwise_or.reduce": np.bitwise_or.reduce,
        "numpy max, float32": lambda part: part.view(np.float32).max(),
        "torch sum, float32": lambda part: torch.from_numpy(part).view(torch.float32).sum(),
        "BLAS dot with itself, float32": dot,
    }
    rates = {}
    with ThreadPoolExecutor(num_threads) as threads:
        for name, kernel in kernels.items():
            rates[name] = num_bytes / _fastest(partial(_on_each, threads, kernel, parts), READ_SECONDS)
    return _best(rates)


def _on_each(threads: ThreadPoolExecutor, kernel: Callable[[Words], object], parts: list[Words]) -> None:
    for _ in threads.map(kernel, parts):
        pass


def best_product(num_threads: int) -> Best:
    """8-bit matrix products, with the weights of each packed beforehand where the library can."""
    rates = {}
    for shape in SHAPES:
        rows, inner, columns = shape
        for name, product in _products(num_threads, *shape).items():
            seconds = _fastest(product, PRODUCT_SECONDS)
            rates[f"{name}, {rows} x {inner} x {columns}"] = 2 * rows * inner * columns / seconds
    return _best(rates)


def _products(num_threads: int, rows: int, inner: int, columns: int) -> dict[str, Callable[[], object]]:
    """A call of each library for a product of (rows, inner) and (inner, columns)."""
    import numpy as np
    import onnx
    import onnxruntime
    import torch

    torch.set_num_threads(num_threads)
    random = np.random.default_rng(1)
    left = random.integers(0, 128, (rows, inner), np.uint8)
    right = random.integers(-127, 128, (inner, columns), np.int8)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        [onnx.helper.make_tensor_value_info("left", onnx.TensorProto.UINT8, [rows, inner])],
        [onnx.helper.make_tensor_value_info("product", onnx.TensorProto.INT32, [rows, columns])],
        [onnx.numpy_helper.from_array(right, "right")],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    products: dict[str, Callable[[], object]] = {
        "onnxruntime MatMulInteger": lambda: session.run(None, {"left": left}),
    }
    one, other = torch.from_numpy(left.astype(np.int8)), torch.from_numpy(right)
    if _works(lambda: torch._int_mm(one, other)):
        products["torch _int_mm"] = lambda: torch._int_mm(one, other)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch will remove its quantized tensors in a later version
        linear = torch.ao.nn.quantized.Linear(inner, columns)  # type: ignore[no-untyped-call]
        quantized = torch.quantize_per_tensor(torch.rand(rows, inner), 0.01, 0, torch.quint8)
    if _works(lambda: linear(quantized)):
        products["torch quantized linear"] = lambda: linear(quantized)
    return products


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def _fastest(call: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest of the calls that fit in some seconds, two at least."""
    call()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < ends:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def _best(rates: dict[str, float]) -> Best:
    kernel = max(rates, key=rates.__getitem__)
    return Best(rates[kernel], kernel)


if __name__ == "__main__":
    main()
