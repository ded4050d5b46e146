"""The two model families, both behind the pure functions `encode()` and `step()` of `contract`."""
