"""How the process logs: JSON lines on stderr, from structlog and from the libraries that use `logging`; nobody who
logs waits for stderr."""

from __future__ import annotations

import logging
import os
import stat
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from service.observability.log_sink import LogSink

STDERR = 2
MAX_CHARACTERS = 10_000
"""Of one value of a line."""


def configure_log() -> LogSink:
    """Send every line to stderr through the sink that is given back; once for a process."""
    sink = LogSink(os.dup(STDERR))
    _unblock_stderr()
    file = cast("TextIO", sink)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _shorten,
    ]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(_is_ours_to_tell)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    return sink


def _shorten(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Nobody's text makes a line that nothing can read."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            event[key] = value[:MAX_CHARACTERS] + "..."
    return event


def _is_ours_to_tell(record: logging.LogRecord) -> bool:
    """Whether a library's line is not of gRPC about metadata that is no UTF-8, which it would repeat, secrets too."""
    return not str(record.msg).startswith("Invalid encoding on")


def _unblock_stderr() -> None:
    """Give stderr's number a view of the same pipe that never blocks: what C libraries and dying threads write there
    is lost rather than waited for. A file does not block, and a socket has no second view: both stay as they are."""
    if not stat.S_ISFIFO(os.fstat(STDERR).st_mode):
        return
    try:
        view = os.open(f"/proc/self/fd/{STDERR}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    sys.stderr.flush()
    os.dup2(view, STDERR)
    os.close(view)
