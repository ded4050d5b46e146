"""The profiles of the compose file, by the commands of deploy/README.md, against servers that are up."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from hostile.rolling.load import MODEL
from tests.containers.engine import Engine, needs_an_engine

pytestmark = [pytest.mark.containers, needs_an_engine]
TEXT = "Two dogs play in the snow."


@pytest.fixture(scope="module")
def page_url(engine: Engine, address: str) -> str:
    """Of the page behind the proxy, as soon as compose says that it is up."""
    engine.compose("--profile", "web", "up", "--detach", "--wait", "--no-recreate", "web")
    return f"http://127.0.0.1:{engine.environment['PAGE_PORT']}"


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def test_the_demonstration_translates_through_the_proxy(engine: Engine, address: str) -> None:
    printed = engine.compose("--profile", "demo", "run", "--rm", "--no-deps", "client")
    assert "=> Zwei Hunde spielen im Schnee." in printed


def test_a_load_test_through_the_proxy_prints_its_report(engine: Engine, address: str) -> None:
    """The container's generator, with a load of known length: the ramp that the file gives lasts until the knee."""
    load = ("load", "--address", "envoy:8001", "--model", MODEL, "--clients", "4", "--duration-s", "3", "--verify")
    printed = engine.compose("--profile", "loadtest", "run", "--rm", "--no-deps", "loadtest", *load)
    verdict = re.search(r"^0 of ([\d,]+) translations differ", printed, re.MULTILINE)
    assert verdict, printed
    assert int(verdict[1].replace(",", "")) > 0


def test_the_page_and_its_load_come_from_behind_the_proxy(page_url: str) -> None:
    assert b"<title>Stepstream</title>" in get(page_url)
    load = json.loads(get(f"{page_url}/load"))
    assert load["num_servers"] == 2
    assert load["slots"] > 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the driver leaves its pipes to be collected
def test_a_browser_translates_by_grpc_web_through_the_proxy(page_url: str) -> None:
    from tests.reference.browser import CHROMIUM, FLAGS, LIMIT_MS, ask, column, expect, playwright  # where there is one

    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    called: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        page.on("response", lambda answer: called.append(f"{answer.headers.get('server')} {answer.url}"))
        page.goto(page_url)
        page.get_by_role("checkbox", name=MODEL, checked=True).wait_for(state="attached", timeout=LIMIT_MS)
        ask(page, TEXT)
        settled = column(page, MODEL).locator(".settled")
        expect(settled).to_have_text("Zwei Hunde spielen im Schnee.■", timeout=LIMIT_MS)
        browser.close()
    assert f"envoy {page_url}/stepstream.v1.TranslationService/StreamTranslate" in called
