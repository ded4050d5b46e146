"""`protos/inference` is the public protocol: its names, its numbers, its types, as Triton's own client has them."""

from __future__ import annotations

import json
from pathlib import Path

from service.pb import inference_pb2 as pb
from tests.clients.wire import Wire, wire_of

SPECIFICATION: Wire = json.loads((Path(__file__).parent / "open_inference.json").read_text())
"""What `tests/clients/wire.py` reads from tritonclient 2.51; a test of the clients holds it true."""


def test_every_message_method_and_value_is_one_of_the_public_protocol() -> None:
    ours = wire_of(pb.DESCRIPTOR)
    assert len(ours) > 40
    assert ours.keys() - SPECIFICATION.keys() == set()
    for name, fields in ours.items():
        assert fields.items() <= SPECIFICATION[name].items(), name


def test_what_a_client_sends_is_known_whole() -> None:
    """No field of a request of ours is missing, so that none is passed over without a word."""
    ours = wire_of(pb.DESCRIPTOR)
    requests = [name for name in ours if name.endswith("Request")] + ["inference.InferParameter"]
    assert len(requests) > 10
    assert {name: SPECIFICATION[name] for name in requests} == {name: ours[name] for name in requests}
