"""A client that resets its call ends the reading of its message."""

from grpc._cython import cygrpc

from service import accepting


async def take(server, path, state):
    await cygrpc._schedule_rpc_coro(server._as_ever(path, state), state, server._loop, path)


accepting._AcceptingServer._take = take
