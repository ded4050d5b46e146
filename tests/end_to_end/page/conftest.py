"""A page in headless Chromium, before scripted models or the shipped ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from service.client.web.serving import PageServer
from tests.reference.page_server import LIMIT_S, page_server
from tests.reference.scripted_service import ScriptedService, scripted_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.reference.browser import CHROMIUM, FLAGS, LIMIT_MS, expect, playwright  # where there is one

    expect.set_options(timeout=LIMIT_MS)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a page: open_page(server, width=..., ...). Nothing that it loads, calls or runs may be foreign or fail."""
    with ExitStack() as contexts:
        faults: list[str] = []

        def open_page(server: PageServer, *, width: int = 1280, height: int = 900, **options: Any) -> Any:
            context = contexts.enter_context(
                browser.new_context(viewport={"width": width, "height": height}, **options)
            )
            context.set_default_timeout(1000 * LIMIT_S)
            page = context.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: request.url.startswith(server.url) or faults.append(request.url))
            page.on("console", lambda said: "Content Security Policy" in said.text and faults.append(said.text))
            page.goto(server.url)
            return page

        yield open_page
        assert faults == []


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with scripted_service() as service:
        yield service


@pytest.fixture
def page(service: ScriptedService, open_page: Any) -> Iterator[Any]:
    """A page before two models that do what is written down."""
    with page_server(service.address) as server:
        page = open_page(server)
        page.get_by_role("checkbox", name="whisper", checked=True).wait_for(state="attached")
        yield page


@pytest.fixture
def shipped(shipped_server: str, open_page: Any) -> Iterator[Any]:
    """A page before the shipped models."""
    with page_server(shipped_server) as server:
        page = open_page(server)
        page.get_by_role("checkbox", name="en-de-general", checked=True).wait_for(state="attached")
        yield page
