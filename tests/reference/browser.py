"""What a test needs to see a page as people do: a browser, and names for the parts of the page."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

LIMIT_MS = 60_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed")
expect: Any = playwright.expect
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the driver leaves its pipes to be collected
]


def ask(page: Any, text: str) -> None:
    page.get_by_label("Sentence").fill(text)
    page.get_by_role("button", name="Translate").click()


def column(page: Any, name: str = "shout") -> Any:
    return page.get_by_role("article", name=name)


def rows(column: Any) -> Any:
    return column.get_by_role("table", name="Attention").locator("tbody tr")
