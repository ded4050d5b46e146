"""Who may call which method on which model. Without tokens everybody may do everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from service.errors import PermissionDeniedError
from service.security.files import WatchedFiles
from service.security.scopes import METHODS, Group, Scope
from service.security.tokens import Tokens

AUTHORIZATION = "authorization"
"""The metadata that holds the token."""
EVERY_SCOPE = tuple(Scope(group) for group in Group)


@dataclass(frozen=True)
class Grant:
    """What one call may do: `caller` is the name of its token, or empty."""

    caller: str
    group: Group
    scopes: tuple[Scope, ...]

    def require_model(self, model: str) -> None:
        """Raises PermissionDeniedError where the model is not the caller's to use."""
        if not any(scope.allows(self.group, model) for scope in self.scopes):
            raise PermissionDeniedError("the token does not allow this")


class Access:
    """Tells what a call may do by its token."""

    def __init__(self, tokens: WatchedFiles[Tokens] | None = None) -> None:
        """tokens: None lets everybody in."""
        self._tokens = tokens

    def grant(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Grant:
        """What the call may do; method as "/package.Service/Method". Raises UnauthenticatedError, then
        PermissionDeniedError."""
        group = METHODS.get(method)
        if self._tokens is None:
            return Grant("", group or Group.MANAGE, EVERY_SCOPE)
        given = [value for key, value in metadata if key == AUTHORIZATION and isinstance(value, str)]
        token = self._tokens.value.find(given[0] if len(given) == 1 else "")
        if group is None or not any(scope.group is group for scope in token.scopes):
            raise PermissionDeniedError("the token does not allow this")
        return Grant(token.name, group, token.scopes)
