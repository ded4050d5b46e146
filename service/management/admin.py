"""The admin port: model management, reflection and health, apart from the port that everybody calls."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.accepting import accepting_server
from service.interceptors import StatusInterceptor
from service.management.servicer import ManagementServicer
from service.pb import inference_pb2, inference_pb2_grpc
from service.pb import management_pb2 as pb
from service.pb import management_pb2_grpc as pb_grpc
from service.refusing import Refuser
from service.security.tls import ServerTls, add_port
from service.transport import server_options

MAX_MESSAGE_BYTES = 2**16
MAX_CONCURRENT_STREAMS = 100
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ModelManagementService"].full_name
INFERENCE_NAME = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class AdminServer:
    """Model management, reflection and health on a port of their own, beside the one for everybody."""

    def __init__(
        self,
        servicer: ManagementServicer,
        inference_servicer: inference_pb2_grpc.GRPCInferenceServiceServicer,
        health_servicer: health.aio.HealthServicer,
        interceptor: StatusInterceptor,
        refuser: Refuser,
    ) -> None:
        options = server_options(max_message_bytes=MAX_MESSAGE_BYTES, max_concurrent_streams=MAX_CONCURRENT_STREAMS)
        self._grpc = accepting_server(interceptors=(interceptor,), options=options, refuser=refuser)
        pb_grpc.add_ModelManagementServiceServicer_to_server(servicer, self._grpc)
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference_servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._grpc)
        names = (SERVICE_NAME, INFERENCE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)

    async def start(self, address: str, tls: ServerTls | None) -> int:
        """Listen on HOST:PORT; the port. Raises OSError."""
        port = add_port(self._grpc, address, tls)
        await self._grpc.start()
        return port

    async def stop(self, grace_s: float) -> None:
        await self._grpc.stop(grace_s)
