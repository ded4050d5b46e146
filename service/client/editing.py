"""What `stepstream interactive` does: it reads beginnings of the target, line by line, and shows each translation."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from io import FileIO
from typing import TextIO

from rich.console import Console

from service.client.client import AsyncClient
from service.client.interactive import InteractiveTranslation
from service.client.options import GREEDY, DecodingOptions
from service.client.terminal import show_line
from service.client.types import Completion
from service.client.versions import Version


def interactive_command(
    console: Console,
    address: str,
    text: str,
    edits: TextIO,
    *,
    model: str,
    version: Version = 0,
    options: DecodingOptions = GREEDY,
) -> None:
    """Show the translation, then, for each line of `edits`, the one that begins with it, until the lines end."""

    async def translate(lines: FileIO) -> None:
        async with (
            AsyncClient(address) as client,
            client.interactive(text, model=model, version=version, options=options) as translation,
        ):
            await _show_next(console, translation)
            while line := await _read_line(lines):
                translation.edit(line.decode(errors="surrogateescape").rstrip("\r\n"))
                await _show_next(console, translation)
            translation.close()
            async for _ in translation:
                pass

    with FileIO(edits.fileno(), closefd=False) as lines:
        asyncio.run(translate(lines))


async def _show_next(console: Console, translation: InteractiveTranslation) -> None:
    async for _, event in translation:
        if isinstance(event, Completion):
            show_line(console, event.text)
            return


async def _read_line(lines: FileIO) -> bytes:
    """The next line, empty at the end. Ctrl-C ends the command while it waits, as a thread pool would not let it.

    The file is not buffered: a thread that is left behind must not hold a lock that the end of the process needs.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[bytes] = loop.create_future()

    def deliver(line: bytes | OSError) -> None:
        if result.done():
            return
        if isinstance(line, OSError):
            result.set_exception(line)
        else:
            result.set_result(line)

    def read() -> None:
        try:
            line: bytes | OSError = lines.readline()
        except OSError as error:
            line = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, line)

    threading.Thread(target=read, daemon=True).start()
    return await result
