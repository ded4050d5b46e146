"""Which version of a model a caller wants: a number from 1, 0 for the newest, or a label such as "stable"."""

from __future__ import annotations

from typing import TypedDict

Version = int | str


class Chosen(TypedDict, total=False):
    """The fields of a request that choose a version."""

    version: int
    label: str


def chosen(version: Version) -> Chosen:
    """The fields for a version."""
    return {"label": version} if isinstance(version, str) else {"version": version}
