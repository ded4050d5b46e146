"""Placeholders of programs, such as %s and {0}: hidden from the model by masks, and put back where the masks came out.

A model learns to carry over a handful of masks; it never sees what they stand for, so that a placeholder that no
training text had is kept as well as any other. It knows texts and pieces, no token ids.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

PLACEHOLDER = re.compile(
    r"""%[A-Z][A-Z_]{2,}                                    # %PRODUCTNAME
      | %\d+\$[-+#0]*+[\d.*]*+(?:hh?|ll?|[zjtqL])?[A-Za-z@]   # %1$s
      | %\d+                                                # %1
      | %[-+#0]*+[\d.*]*+(?:hh?|ll?|[zjtqL])?[A-Za-z@]        # %s %ld %.2f
      | %\([A-Za-z_]\w*\)[A-Za-z]                           # %(name)s
      | [%$]?\{[A-Za-z0-9_]*\}                              # {} {0} {name} ${name}
      | \$\([A-Za-z0-9_]+\)                                 # $(ARG1)
      | \$[1-9](?!\d|[.,]\d)                                # $1, no price
    """,
    re.VERBOSE | re.ASCII,
)
"""What a program puts its own text in the place of: of printf, Qt, Python, shells and LibreOffice. Its time
grows with the text alone, since flags and widths are never given back once they are taken."""


class TooManyPlaceholdersError(ValueError):
    """A text has more placeholders than a model has masks: `number`, of which `most` can be kept."""

    def __init__(self, number: int, most: int) -> None:
        super().__init__(f"the text has {number} placeholders; at most {most} are kept")
        self.number, self.most = number, most


def count_placeholders(text: str) -> Counter[str]:
    """How often each placeholder occurs in a text."""
    return Counter(PLACEHOLDER.findall(text))


def hide(text: str, masks: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The text with its placeholders replaced by `masks` in their order, and the placeholders.

    Raises TooManyPlaceholdersError where there are more of them than masks.
    """
    found = PLACEHOLDER.findall(text)
    if len(found) > len(masks):
        raise TooManyPlaceholdersError(len(found), len(masks))
    following = iter(masks)
    return PLACEHOLDER.sub(lambda _: next(following), text), tuple(found)


def hide_again(text: str, placeholders: Sequence[str], masks: Sequence[str]) -> str:
    """The text with masks for those of its placeholders that `hide` has replaced by masks elsewhere: equal placeholders
    meet in their order."""
    waiting: defaultdict[str, deque[str]] = defaultdict(deque)
    for placeholder, mask in zip(placeholders, masks, strict=False):
        waiting[placeholder].append(mask)

    def mask_of(match: re.Match[str]) -> str:
        masks_left = waiting[match.group()]
        return masks_left.popleft() if masks_left else match.group()

    return PLACEHOLDER.sub(mask_of, text)


def hide_pair(source: str, target: str, masks: Sequence[str]) -> tuple[str, str] | None:
    """Both texts with masks, numbered in the order of the source.

    None where the two do not have the same placeholders, or more of them than masks.
    """
    if count_placeholders(source) != count_placeholders(target):
        return None
    try:
        masked, found = hide(source, masks)
    except ValueError:
        return None
    return masked, hide_again(target, found, masks)
