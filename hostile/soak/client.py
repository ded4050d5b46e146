"""`python -m hostile.soak.client ADDRESS SEED`: streams without end, in a process that can be killed or stopped. Prints
a line once a first message has arrived."""

from __future__ import annotations

import asyncio
import random
import sys

import grpc.aio

from hostile.soak.jobs import LONG_S, make_jobs, start

NUM_STREAMS = 8


async def main(address: str, seed: int) -> None:
    jobs = [job for job in make_jobs(seed, [0], each=4) if job.method.responses_stream]
    order = random.Random(seed)

    async def stream(channel: grpc.aio.Channel) -> None:
        while True:
            try:
                async for _ in start(channel, order.choice(jobs), LONG_S):
                    print("running", flush=True)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)

    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.gather(*(stream(channel) for _ in range(NUM_STREAMS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
