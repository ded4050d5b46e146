"""What every part of a manifest has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Takes the fields that it has a name for and no others, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
