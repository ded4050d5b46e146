"""What a translation must be, and how one that was streamed under load differs from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.pb import translation_pb2 as pb

MOST_CHARACTERS = 120
"""Of a text, as shown."""


@dataclass
class Streamed:
    """A stream as far as it has come."""

    version: int = 0
    token_ids: list[int] = field(default_factory=list)
    deltas: list[str] = field(default_factory=list)
    text: str = ""
    is_complete: bool = False

    def read(self, message: pb.StreamTranslateResponse) -> None:
        """The next message."""
        self.version = self.version or message.version
        if message.HasField("step"):
            self.token_ids.append(message.step.token_id)
            self.deltas.append(message.step.text_delta)
        if message.HasField("completion"):
            self.text = message.completion.text
            self.is_complete = True


@dataclass(frozen=True)
class Reference:
    """The translation of one sentence alone: the version that made it, its tokens and its text."""

    version: int
    token_ids: tuple[int, ...]
    text: str

    def difference(self, sentence: str, streamed: Streamed) -> str:
        """In one line, how a complete stream is not this translation, byte for byte; empty where it is."""
        where = f"{_shown(sentence)}:"
        if streamed.version != self.version:
            return f"{where} version {streamed.version} answered, the reference is of version {self.version}"
        if streamed.text.encode() != self.text.encode():
            return f"{where} the text is {_shown(streamed.text)}, and must be {_shown(self.text)}"
        if (joined := "".join(streamed.deltas)).encode() != self.text.encode():
            return f"{where} the streamed text is {_shown(joined)}, and must be {_shown(self.text)}"
        if tuple(streamed.token_ids) != self.token_ids:
            return f"{where} the tokens are {streamed.token_ids}, and must be {list(self.token_ids)}"
        return ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}...")
