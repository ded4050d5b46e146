"""The methods of the protocol, from its descriptor: their paths, their messages, what streams."""

from __future__ import annotations

import random
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hostile.messages import fill, mutate
from service.pb import translation_pb2 as pb


@dataclass(frozen=True)
class Method:
    """One method; path is /SERVICE/METHOD."""

    path: str
    request: type[Message]
    response: type[Message]
    requests_stream: bool
    responses_stream: bool

    def requests(self, order: random.Random) -> tuple[bytes, ...]:
        """What a client could send: one message, or up to four where requests stream; sometimes damaged."""
        number = order.randint(1, 4) if self.requests_stream else 1
        return tuple(self._request(order) for _ in range(number))

    def _request(self, order: random.Random) -> bytes:
        data = fill(self.request(), order, share=order.choice((0.05, 0.3))).SerializeToString()
        return mutate(data, order) if order.random() < 0.2 else data


METHODS = tuple(
    Method(
        f"/{service.full_name}/{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
BY_NAME = {method.path.rpartition("/")[2]: method for method in METHODS}
