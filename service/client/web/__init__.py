"""The page of `stepstream web`, and the relay through which a browser reaches a gRPC server."""
