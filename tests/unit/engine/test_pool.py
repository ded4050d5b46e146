"""A model's engines share the requests evenly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from service.engine.engine import Engine
from service.engine.pool import EnginePool
from service.engine.request import Decoding

SHORT = Decoding(50)


async def test_requests_go_to_the_engine_with_the_fewest_rows(make_engine: Callable[..., Engine], rows: Any) -> None:
    rows.step_s = 0.01
    first, second = make_engine(), make_engine(type(rows)(step_s=0.01))
    pool = EnginePool([first, second])
    pool.start()
    source = (*range(10, 30), 3)
    streams = []
    for _ in range(6):
        streams.append(pool.translate(source, SHORT))
        await anext(streams[-1])
    assert (first.num_rows_promised, second.num_rows_promised) == (3, 3)
    for stream in streams[::2]:
        await stream.aclose()
    beam = pool.translate(source, Decoding(50, beam_size=3))
    await anext(beam)
    assert sorted((first.num_rows_promised, second.num_rows_promised)) == [3, 3]
    results = await asyncio.gather(*(_rest(stream) for stream in streams[1::2]))
    assert all(tokens[-1] == 3 for tokens in results)
    await beam.aclose()
    assert (first.num_rows_promised, second.num_rows_promised) == (0, 0)
    assert await pool.stop()


async def _rest(stream: Any) -> list[int]:
    return [token.token_id async for result in stream for token in result.settled]
