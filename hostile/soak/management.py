"""Whether the server has model management, and the flags that let a version come and go."""

from __future__ import annotations

from importlib.util import find_spec

from hostile.texts import MODEL

IS_THERE = find_spec("service.pb.management_pb2") is not None
SERVED = (1, 2)
"""The versions that jobs ask for."""
SWAPPED = 3
"""The version that comes and goes, where it can; no job asks for it, and none may notice."""
VERSIONS = (*SERVED, SWAPPED) if IS_THERE else SERVED
"""What the store holds."""
FLAGS = (
    ("--model-control", "explicit", "--initial-models", ",".join(f"{MODEL}:{version}" for version in SERVED))
    if IS_THERE
    else ()
)
