"""A client that resets its call ends the reading of its message."""

from service import accepting


async def refuse_or_serve(server, path, state):
    await server._served(path, state)


accepting._AcceptingServer._refuse_or_serve = refuse_or_serve
