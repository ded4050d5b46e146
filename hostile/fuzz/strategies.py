"""Hypothesis strategies for calls: structured requests from the protocol's descriptors, and damaged ones."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from hostile.messages import EDGES, NAMES, is_main, is_map, mutate, names_model, names_version
from hostile.methods import METHODS, Method
from hostile.requests import LISTS, PARAMETER_FIELDS, PARAMETER_NAMES, Parameter, fit_together, parameters_of
from hostile.texts import EDGE_TEXTS, MARKER, PLACEHOLDERS, VERSIONS, WORDS
from service.pb import inference_pb2, translation_pb2

LONG_S = 60.0
"""A deadline that no request of these may reach."""
TIMEOUTS_S = (LONG_S, LONG_S, LONG_S, LONG_S, 1.0, 0.05, 0.001)
MOST_FIELDS = 4
"""Fields of a message that are set besides its texts and names: most combinations of more exclude each other."""
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
}
_TRANSLATING = tuple(method for method in METHODS if method.path.endswith(("Translate", "Interactive", "Infer")))
_SENTENCES = st.lists(st.sampled_from((*WORDS, *PLACEHOLDERS, MARKER)), max_size=8).map(" ".join)
TEXTS = st.one_of(_SENTENCES, _SENTENCES, st.sampled_from(EDGE_TEXTS), st.text(max_size=40))


@dataclass(frozen=True)
class Call:
    """What a client sends, when it stops waiting, and when it cancels; times in seconds, None: never."""

    method: Method
    requests: tuple[bytes, ...]
    timeout_s: float
    cancel_after_s: float | None
    request_id: str | None


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any method with what it takes, sometimes damaged."""
    method = draw(st.sampled_from((*METHODS, *_TRANSLATING)))
    number = draw(st.integers(1, 4)) if method.requests_stream else 1
    requests = [draw(_request(method.request.DESCRIPTOR)).SerializeToString() for _ in range(number)]
    if draw(st.integers(0, 7)) == 7:
        order = random.Random(draw(st.integers(0, 2**32)))
        requests = [mutate(request, order) for request in requests]
    return Call(
        method,
        tuple(requests),
        draw(st.sampled_from(TIMEOUTS_S)),
        draw(st.sampled_from((None, None, None, 0.0, 0.01, 0.1))),
        draw(st.none() | st.sampled_from(("one", "two")) | st.text(st.characters(min_codepoint=32, max_codepoint=126))),
    )


@st.composite
def _request(draw: st.DrawFn, descriptor: Any) -> Message:
    """One for inference mostly has parts that fit together."""
    request = draw(messages(descriptor))
    if isinstance(request, inference_pb2.ModelInferRequest) and draw(st.integers(0, 7)):
        parameters = list(parameters_of(draw(messages(translation_pb2.DecodingOptions.DESCRIPTOR))))
        parameters += draw(st.lists(_odd_parameters(), max_size=1))
        texts = draw(st.lists(TEXTS, min_size=1, max_size=3) | TEXTS.map(lambda text: [text]))
        fit_together(request, texts, parameters, is_raw=draw(st.booleans()))
    return request


@st.composite
def _odd_parameters(draw: st.DrawFn) -> Parameter:
    field = draw(st.sampled_from(PARAMETER_FIELDS))
    values = _one_value(field)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        values |= st.sampled_from(LISTS)
    return Parameter(draw(st.sampled_from(PARAMETER_NAMES)), field.name, draw(values))


def messages(descriptor: Any) -> st.SearchStrategy[Message]:
    """Messages of this type: texts and names always, a few of the other fields."""
    main = {field.name: _values(field) for field in descriptor.fields if is_main(field)}
    others = {field.name: field for field in descriptor.fields if not is_main(field)}
    make = GetMessageClass(descriptor)

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        values = {name: draw(value) for name, value in main.items()}
        names = st.lists(st.sampled_from(sorted(others)), max_size=MOST_FIELDS, unique=True) if others else st.just([])
        values |= {name: draw(_values(others[name])) for name in draw(names)}
        return make(**values)

    return build()


def _values(field: Any) -> st.SearchStrategy[Any]:
    if is_map(field):
        entry = field.message_type.fields_by_name
        keys = _one_value(entry["key"]).filter(lambda key: key != MARKER)  # an unknown parameter's name may be told
        return st.dictionaries(keys, _one_value(entry["value"]), max_size=3)
    one = _one_value(field)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _one_value(field: Any) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return st.deferred(lambda: messages(field.message_type))
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40)
        case FieldDescriptor.CPPTYPE_STRING:
            if names_model(field):
                return st.sampled_from(NAMES)
            return st.sampled_from(VERSIONS) if names_version(field) else TEXTS
    edges = st.sampled_from(EDGES[field.cpp_type])
    return edges | _RANGES[field.cpp_type] if field.cpp_type in _RANGES else edges
