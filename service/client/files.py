"""Translates files line by line with many requests in flight. It knows the async client, and no terminal."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.client.client import AsyncClient
from service.client.errors import InvalidRequestError, OverloadedError
from service.client.options import GREEDY, DecodingOptions
from service.client.versions import Version

WINDOW_FACTOR = 4
RETRY_PAUSES_S = (0.1, 0.3, 1.0, 3.0)


async def translate_lines(
    client: AsyncClient,
    lines: AsyncIterable[str],
    *,
    model: str,
    version: Version = 0,
    options: DecodingOptions = GREEDY,
    concurrency: int = 16,
) -> AsyncGenerator[str, None]:
    """The translation of each line, in the order of the lines.

    At most `concurrency` requests are in flight, and at most WINDOW_FACTOR times as many lines are held, so one slow
    line does not stop the others, nor let them pile up. A line of white space makes an empty line and no request.
    A request that finds the queue full is sent again after each of RETRY_PAUSES_S. Raises a StepstreamError; one that
    the line itself caused names the line, from 1.
    """
    translator = _LineTranslator(client, model, version, options, asyncio.Semaphore(concurrency))
    window: deque[asyncio.Task[str]] = deque()
    number = 0
    try:
        async for line in lines:
            number += 1
            window.append(asyncio.create_task(translator.translate(number, line)))
            while window and (len(window) >= concurrency * WINDOW_FACTOR or window[0].done()):
                yield await window.popleft()
        while window:
            yield await window.popleft()
    finally:
        for task in window:
            task.cancel()
        await asyncio.gather(*window, return_exceptions=True)


@dataclass(frozen=True)
class _LineTranslator:
    client: AsyncClient
    model: str
    version: Version
    options: DecodingOptions
    free: asyncio.Semaphore

    async def translate(self, number: int, line: str) -> str:
        if not line.strip():
            return ""
        try:
            async with self.free:
                return await self._translate_patiently(line)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"line {number}: {error}") from None

    async def _translate_patiently(self, line: str) -> str:
        for pause_s in RETRY_PAUSES_S:
            try:
                return await self._translate_once(line)
            except OverloadedError:
                await asyncio.sleep(pause_s)
        return await self._translate_once(line)

    async def _translate_once(self, line: str) -> str:
        (translation,) = await self.client.translate(
            [line], model=self.model, version=self.version, options=self.options
        )
        return " ".join(translation.text.splitlines())


async def translate_file(
    client: AsyncClient,
    source: Path,
    target: Path,
    *,
    model: str,
    version: Version = 0,
    options: DecodingOptions = GREEDY,
    concurrency: int = 16,
    on_line: Callable[[int], None] = lambda _: None,
) -> int:
    """Translate a UTF-8 file of one sentence per line; the number of lines.

    `target` appears, or is replaced, only when every line is written. on_line gets the bytes of each source line once
    its translation is written. Raises a StepstreamError, or OSError where a file cannot be read or written.
    """
    sizes: deque[int] = deque()
    num_lines = 0
    input_file = await asyncio.to_thread(source.open, "rb")
    with input_file:
        async with _replacing(target) as output_file:
            lines = _read_lines(input_file, source, sizes)
            translations = translate_lines(
                client, lines, model=model, version=version, options=options, concurrency=concurrency
            )
            async with aclosing(lines), aclosing(translations):
                async for translation in translations:
                    await asyncio.to_thread(output_file.write, translation.encode() + b"\n")
                    num_lines += 1
                    on_line(sizes.popleft())
    return num_lines


async def _read_lines(file: BinaryIO, path: Path, sizes: deque[int]) -> AsyncGenerator[str, None]:
    number = 0
    while raw := await asyncio.to_thread(file.readline):
        number += 1
        sizes.append(len(raw))
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InvalidRequestError(f"{path}: line {number} is not UTF-8") from None
        yield line.rstrip("\r\n")


@asynccontextmanager
async def _replacing(target: Path) -> AsyncIterator[BinaryIO]:
    """A file beside the target that takes its place when the block ends, or vanishes when the block fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    file = await asyncio.to_thread(part.open, "wb")
    try:
        with file:
            yield file
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
