"""The methods of both protocols, from their descriptors: their paths, their messages, what streams, and which statuses
they may end with."""

from __future__ import annotations

import random
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hostile.messages import mutate
from hostile.requests import fill_request
from hostile.verdicts import PERMITTED
from service.pb import inference_pb2, translation_pb2

ALSO_PERMITTED = {
    "ModelInfer": frozenset({grpc.StatusCode.DEADLINE_EXCEEDED}),
    "ModelStreamInfer": frozenset({grpc.StatusCode.DEADLINE_EXCEEDED}),
    "RepositoryModelLoad": frozenset({grpc.StatusCode.PERMISSION_DENIED}),
    "RepositoryModelUnload": frozenset({grpc.StatusCode.PERMISSION_DENIED}),
}
"""By method: a request may have a `timeout` of its own, and models are loaded on the admin port alone."""


@dataclass(frozen=True)
class Method:
    """One method; path is /SERVICE/METHOD."""

    path: str
    request: type[Message]
    response: type[Message]
    requests_stream: bool
    responses_stream: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def permitted(self) -> frozenset[grpc.StatusCode]:
        """The statuses of a sound server that nobody stops, for a client that waits."""
        return PERMITTED | ALSO_PERMITTED.get(self.name, frozenset())

    def requests(self, order: random.Random) -> tuple[bytes, ...]:
        """What a client could send: one message, or up to four where requests stream; sometimes damaged."""
        number = order.randint(1, 4) if self.requests_stream else 1
        return tuple(self._request(order) for _ in range(number))

    def _request(self, order: random.Random) -> bytes:
        data = fill_request(self.request(), order, share=order.choice((0.05, 0.3))).SerializeToString()
        return mutate(data, order) if order.random() < 0.2 else data


METHODS = tuple(
    Method(
        f"/{service.full_name}/{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )
    for file in (translation_pb2, inference_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
BY_NAME = {method.name: method for method in METHODS}
