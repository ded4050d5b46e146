"""Streams that are cancelled while they wait for a slot: nothing has been written to them, so that all that is left of
one is what the server itself has forgotten to give back."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc.aio

from hostile.server import ServerProcess
from hostile.texts import MODEL
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

FLAGS = ("--max-queue-wait-s", "3600")
"""Of a server where all of them wait: one that refuses what stands too long would have nothing to forget."""
CANCELLED = "cancelled in the queue"
NUM_WAITING = 100
NUM_LOOKS = 50
OCCUPANT = pb.StreamTranslateRequest(
    model=MODEL, text="ba ce", options=pb.DecodingOptions(beam_size=32, min_length=255)
)
WAITING = pb.StreamTranslateRequest(model=MODEL, text="ba ce")


async def cancel_waiting(server: ServerProcess, statuses: Counter[str], number: int) -> None:
    """So many, in hundreds, while long beam searches hold every slot. statuses counts how each ended."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = TranslationServiceStub(channel)
        for _ in range(number // NUM_WAITING):
            occupants = [stub.StreamTranslate(OCCUPANT) for _ in range(8)]
            await asyncio.sleep(0.2)
            waiting = [stub.StreamTranslate(WAITING) for _ in range(NUM_WAITING)]
            for _ in range(NUM_LOOKS):
                if (await asyncio.to_thread(server.balance)).queue_depth >= NUM_WAITING:
                    break
            for call in waiting:
                statuses[CANCELLED if call.cancel() else (await call.code()).name] += 1
            for call in occupants:
                call.cancel()
            await asyncio.to_thread(server.settled_balance, timeout_s=5.0)
