"""The sections of the report, in their order: each measures one thing and gives its tables."""

from __future__ import annotations

from benchmarks.report import Section
from benchmarks.sections import (
    age,
    cold_start,
    comparison,
    corpora,
    cuda,
    faces,
    hardware,
    hostile,
    importing,
    latency,
    memory,
    opus,
    others,
    overload,
    profile,
    server,
    serving,
    spans,
    steps,
)

SECTIONS: dict[str, Section] = {
    "steps": steps.measure,
    "comparison": comparison.measure,
    "serving": serving.measure,
    "server": server.measure,
    "faces": faces.measure,
    "others": others.measure,
    "opus": opus.measure,
    "corpora": corpora.measure,
    "latency": latency.measure,
    "overload": overload.measure,
    "age": age.measure,
    "cold_start": cold_start.measure,
    "memory": memory.measure,
    "import": importing.measure,
    "hostile": hostile.measure,
    "cuda": cuda.measure,
    "hardware": hardware.measure,
    "profile": profile.measure,
    "spans": spans.measure,
}
