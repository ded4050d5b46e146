"""Messages with maps are read as all others: fields that nobody knows are counted, wherever they are."""

from __future__ import annotations

from service.parsing import parse
from service.pb import inference_pb2 as pb
from service.pb import management_pb2


def test_unknown_fields_in_the_values_of_a_map_are_counted() -> None:
    unknown = b"\xf8\x07\x01"  # field 127, a number
    value = pb.InferParameter(int64_param=4).SerializeToString() + unknown
    entry = b"\x0a\x01a\x12" + bytes([len(value)]) + value
    message = b"\x22" + bytes([len(entry)]) + entry + unknown
    parsed = parse(pb.ModelInferRequest.FromString, message)
    assert parsed.message.parameters["a"].int64_param == 4
    assert parsed.num_unknown_fields == 2


def test_a_map_of_plain_values_has_no_messages_to_look_into() -> None:
    labels = management_pb2.SetLabelResponse(labels={"stable": 1})
    assert parse(management_pb2.SetLabelResponse.FromString, labels.SerializeToString()).num_unknown_fields == 0
