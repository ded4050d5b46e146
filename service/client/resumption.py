"""One stream over all its attempts: what the caller has of it, and what the next server is asked for.

Where one line of tokens is all that the search keeps (greedy search, sampling of one hypothesis), the next server goes
on after the tokens that are there. Any other search has more than it shows, such as the other hypotheses of a beam: it
is made again from its beginning, and what the caller has is left out, as long as it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from service.client.errors import ServerError
from service.client.responses import StreamReader
from service.client.types import StreamEvent
from service.pb import translation_pb2 as pb


class ResumableStream:
    """Gives each event once, whichever attempt brings it."""

    def __init__(self, request: pb.StreamTranslateRequest) -> None:
        self._request = request
        self._reader = StreamReader()
        self._version = request.version
        self._held = pb.Resumption()
        self._shown: list[pb.StreamTranslateResponse] = []
        self._place = 0

    @property
    def num_tokens(self) -> int:
        """Tokens that the caller has."""
        return len(self._held.token_ids)

    @property
    def is_complete(self) -> bool:
        """Whether the completion has come."""
        return self._reader.is_completed

    def request(self) -> pb.StreamTranslateRequest:
        """Of the next attempt, which asks for the version that began."""
        request = pb.StreamTranslateRequest()
        request.CopyFrom(self._request)
        request.version = self._version
        self._place = 0
        if self._goes_on:
            request.resume.CopyFrom(self._held)
            self._place = len(self._shown)
        return request

    def events(self, message: pb.StreamTranslateResponse) -> Iterator[StreamEvent]:
        """What a message brings; nothing where the caller has it. Raises ServerError for a message that does not follow
        what the caller has."""
        self._version = message.version or self._version
        if self._place < len(self._shown):
            if _text_of(message) != self._shown[self._place]:
                raise ServerError("the server was lost, and another one translates in another way")
            self._place += 1
            return
        if message.HasField("step"):
            if message.step.index != self.num_tokens:
                raise ServerError(f"the server sent step {message.step.index} after {self.num_tokens} tokens")
            self._held.token_ids.append(message.step.token_id)
            self._held.log_probabilities.append(message.step.log_probability)
        if not self._goes_on_from_tokens:
            self._shown.append(_text_of(message))
            self._place += 1
        yield from self._reader.events(message)

    @property
    def _goes_on_from_tokens(self) -> bool:
        options = self._request.options
        return options.beam_size <= 1 and options.num_hypotheses <= 1 and not options.return_alternatives

    @property
    def _goes_on(self) -> bool:
        return self._goes_on_from_tokens and self.num_tokens > 0


def _text_of(message: pb.StreamTranslateResponse) -> pb.StreamTranslateResponse:
    """What a message says of the text, without the numbers, which may differ in their last digit between processors."""
    text = pb.StreamTranslateResponse()
    if message.HasField("step"):
        step = message.step
        text.step.CopyFrom(pb.Step(index=step.index, token_id=step.token_id, text_delta=step.text_delta))
    if message.HasField("tentative"):
        text.tentative.CopyFrom(message.tentative)
    if message.HasField("completion"):
        text.completion.SetInParent()
    return text
