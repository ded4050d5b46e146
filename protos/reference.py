"""Writes the reference of the gRPC API, as Markdown, out of the protos and their comments. `make api-reference`

Everything in it comes from protoc's descriptors: services, methods, messages, fields and enums, each with the comment
that stands above it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

PROTOS = Path(__file__).parent
PAGE = PROTOS.parent / "deploy" / "api.md"
INTRODUCTION = """# API reference

Made from [protos](../protos) by `make api-reference`. A field that is not set has the value 0, "" or false, or is
missing where it is a message; one that is marked optional tells whether it was set. The statuses of errors stand with
each service.
"""
FILE_SERVICE, FILE_MESSAGE, FILE_ENUM, FILE_SYNTAX = 6, 4, 5, 12
SERVICE_METHOD = 2
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE = 2

Place = tuple[int, ...]
"""Where something stands in a file: field numbers and indices, as of SourceCodeInfo.Location.path."""


def read_protos(folder: Path) -> Sequence[FileDescriptorProto]:
    """Every proto file in a folder, and in those in it. Raises ValueError where they do not compile."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.proto"))]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "descriptors"
        flags = ["--include_source_info", f"--descriptor_set_out={output}", f"-I{folder}"]
        if status := protoc.main(["protoc", *flags, *names]):
            raise ValueError(f"protoc ended with {status}")
        return FileDescriptorSet.FromString(output.read_bytes()).file


def reference(files: Sequence[FileDescriptorProto]) -> str:
    """The whole page."""
    pages = [_Page(file, _comments(file)) for file in files]
    contents = [line for page in pages for line in page.contents()]
    sections = [section for page in pages for section in page.sections()]
    return "\n\n".join([INTRODUCTION.rstrip(), "\n".join(contents), *sections]) + "\n"


def _comments(file: FileDescriptorProto) -> dict[Place, str]:
    """What stands above each thing, the text before the first line of the file included."""
    found: dict[Place, str] = {}
    for location in file.source_code_info.location:
        above = [*location.leading_detached_comments, location.leading_comments]
        if tuple(location.path) != (FILE_SYNTAX,):
            above = [location.leading_comments]
        lines = [line.removeprefix(" ").rstrip() for text in above for line in text.splitlines()]
        found[tuple(location.path)] = "\n".join(lines).strip("\n")
    return found


@dataclass(frozen=True)
class _Page:
    """One file's part."""

    file: FileDescriptorProto
    comments: dict[Place, str]

    def contents(self) -> Iterator[str]:
        yield f"- `{self.file.name}`: {_in_line(self.comments[FILE_SYNTAX,])}"
        for service in self.file.service:
            methods = ", ".join(f"`{method.name}`" for method in service.method)
            yield f"  - {_link(self._full(service.name))}: {methods}"

    def sections(self) -> Iterator[str]:
        yield f"## {self.file.name}"
        for i, service in enumerate(self.file.service):
            yield from self._service(service, (FILE_SERVICE, i))
        for i, message in enumerate(self.file.message_type):
            yield from self._message(message, (FILE_MESSAGE, i), self._full(message.name))
        for i, enum in enumerate(self.file.enum_type):
            yield from self._enum(enum, (FILE_ENUM, i), self._full(enum.name))

    def _full(self, name: str) -> str:
        return f"{self.file.package}.{name}"

    def _service(self, service: ServiceDescriptorProto, place: Place) -> Iterator[str]:
        yield _heading(self._full(service.name), "service")
        yield _as_text(self.comments[place])
        rows = []
        for i, method in enumerate(service.method):
            request = _streamed(method.client_streaming, method.input_type)
            response = _streamed(method.server_streaming, method.output_type)
            comment = _in_line(self.comments[(*place, SERVICE_METHOD, i)])
            rows.append((f"`{method.name}`", request, response, comment))
        yield _table(("method", "request", "response", "what it does"), rows)

    def _message(self, message: DescriptorProto, place: Place, full: str) -> Iterator[str]:
        yield _heading(full, "message")
        yield _as_text(self.comments[place])
        maps = {f".{full}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
        rows = []
        for i, field in enumerate(message.field):
            comment = _in_line(self.comments[(*place, MESSAGE_FIELD, i)])
            if field.HasField("oneof_index") and not field.proto3_optional:
                oneof = message.oneof_decl[field.oneof_index].name
                comment = f"One of `{oneof}`. {comment}"
            rows.append((f"`{field.name}`", str(field.number), _type(field, maps), comment))
        if rows:
            yield _table(("field", "number", "type", "meaning"), rows)
        for i, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, (*place, MESSAGE_NESTED, i), f"{full}.{nested.name}")
        for i, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*place, MESSAGE_ENUM, i), f"{full}.{enum.name}")

    def _enum(self, enum: EnumDescriptorProto, place: Place, full: str) -> Iterator[str]:
        yield _heading(full, "enum")
        yield _as_text(self.comments[place])
        rows = [
            (f"`{value.name}`", str(value.number), _in_line(self.comments[(*place, ENUM_VALUE, i)]))
            for i, value in enumerate(enum.value)
        ]
        yield _table(("value", "number", "meaning"), rows)


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    if (entry := maps.get(field.type_name)) is not None:
        key, value = entry.field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    name = field.Type.Name(field.type).removeprefix("TYPE_").lower()
    word = _link(field.type_name) if field.type_name else name
    if field.label == field.LABEL_REPEATED:
        return f"repeated {word}"
    return f"optional {word}" if field.proto3_optional else word


def _streamed(is_streamed: bool, type_name: str) -> str:
    return f"{'stream of ' * is_streamed}{_link(type_name)}"


def _link(full: str) -> str:
    full = full.removeprefix(".")
    short = re.sub(r"^[a-z0-9_.]+\.(?=[A-Z])", "", full)
    return f"[{short}](#{full})"


def _heading(full: str, kind: str) -> str:
    return f'<a id="{full}"></a>\n\n### {kind} `{full}`'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_line(comment: str) -> str:
    return _escaped(" ".join(comment.split()))


def _as_text(comment: str) -> str:
    """Paragraphs as they are; lines that are set in stay as they are laid out."""
    lines: list[str] = []
    is_code = False
    for line in comment.splitlines():
        if line and line.startswith("  ") != is_code:
            is_code = not is_code
            lines.append("```")
        lines.append(line if is_code else _escaped(line))
    return "\n".join([*lines, "```"] if is_code else lines)


def _escaped(text: str) -> str:
    """What looks like a tag is none; between backticks it never is."""
    parts = text.split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m protos.reference", description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=PAGE, help="file to write (default: deploy/api.md)")
    page: Path = parser.parse_args().page
    page.write_text(reference(read_protos(PROTOS)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
