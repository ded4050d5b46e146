"""Which of a model's versions are to be served. It knows version numbers alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

Policy = Callable[[Iterable[int]], set[int]]
"""Of the versions that there are, those to serve."""


class Policies:
    """One policy for every model, and exceptions by name."""

    def __init__(self, default: Policy, exceptions: Mapping[str, Policy]) -> None:
        self._default = default
        self._exceptions = dict(exceptions)

    def choose(self, name: str, versions: Iterable[int]) -> set[int]:
        """The versions of a model to serve, of those that there are."""
        return self._exceptions.get(name, self._default)(versions)


def parse_policies(text: str) -> Policies:
    """POLICY, or POLICY;NAME=POLICY;...; raises ValueError."""
    default, *exceptions = (part.strip() for part in text.split(";"))
    pairs = [exception.partition("=")[::2] for exception in exceptions]
    return Policies(parse_policy(default), {name.strip(): parse_policy(policy.strip()) for name, policy in pairs})


def parse_policy(text: str) -> Policy:
    """all, latest:N or specific:N,N,...; raises ValueError."""
    if text == "all":
        return set
    if found := re.fullmatch(r"latest:([1-9]\d{0,8})", text):
        most = int(found[1])
        return lambda versions: set(sorted(versions)[-most:])
    if found := re.fullmatch(r"specific:([1-9]\d{0,17}(?:,[1-9]\d{0,17})*)", text):
        named = {int(number) for number in found[1].split(",")}
        return named.intersection
    raise ValueError(f"{text!r} is no version policy: all, latest:N or specific:N,N")
