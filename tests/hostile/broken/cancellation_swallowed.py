"""A handler takes its cancellation for the end of its work."""

import asyncio

from service import interceptors

write_all = interceptors.write_all


async def swallows(messages, write, *, max_stall_s):
    try:
        await write_all(messages, write, max_stall_s=max_stall_s)
    except asyncio.CancelledError:
        return


interceptors.write_all = swallows
