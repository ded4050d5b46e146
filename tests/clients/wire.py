"""The wire numbers of a file of messages, by message and field. Also run as a program, with a client's own modules of
generated code: it imports nothing of this project."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

Wire = dict[str, dict[str, Any]]
"""Messages and enumerations by full name, each with its fields: number, type, and whether it repeats; methods by path,
with what they take, give and stream."""


def wire_of(file: Any) -> Wire:
    """Of a FileDescriptor."""
    wire: Wire = {}
    for message in file.message_types_by_name.values():
        _add_message(wire, message)
    for enum in file.enum_types_by_name.values():
        wire[enum.full_name] = {value.name: [value.number] for value in enum.values}
    for service in file.services_by_name.values():
        wire[service.full_name] = {method.name: _method(method) for method in service.methods}
    return wire


def _add_message(wire: Wire, message: Any) -> None:
    wire[message.full_name] = {field.name: _field(field) for field in message.fields}
    for nested in message.nested_types:
        _add_message(wire, nested)
    for enum in message.enum_types:
        wire[enum.full_name] = {value.name: [value.number] for value in enum.values}


def _field(field: Any) -> list[Any]:
    kind = field.message_type or field.enum_type
    repeats = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    return [field.number, kind.full_name if kind else field.type, repeats]


def _method(method: Any) -> list[Any]:
    return [method.input_type.full_name, method.output_type.full_name, method.client_streaming, method.server_streaming]


if __name__ == "__main__":
    found: Wire = {}
    for name in sys.argv[1:]:
        found |= wire_of(importlib.import_module(name).DESCRIPTOR)
    lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")
