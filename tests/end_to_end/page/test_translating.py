"""The page in headless Chromium: what people see, hear and press, with real gRPC-Web behind it."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from service.client.client import Client
from service.client.options import DecodingOptions
from service.metrics import Metrics
from service.pb import translation_pb2 as pb
from service.web import WatchServer
from tests.reference.browser import LIMIT_MS, ask, column, expect, needs_browser, rows
from tests.reference.page_server import page_server
from tests.reference.scripted_service import ScriptedService, messages

pytestmark = needs_browser


def test_models_translate_side_by_side_as_they_do_elsewhere(shipped: Any, shipped_server: str) -> None:
    text = "A man is riding a red bicycle."
    ask(shipped, text)
    with Client(shipped_server) as client:
        for model in ("en-de-general", "en-de-transformer"):
            [translation] = client.translate([text], model=model)
            one = column(shipped, model)
            expect(one.locator(".status")).to_have_attribute("data-state", "completed")
            expect(one.locator(".settled")).to_have_text(f"{translation.text}■")
            expect(rows(one)).to_have_count(translation.num_target_tokens)
            head = one.get_by_role("table", name="Attention").locator("thead th")
            expect(head).to_have_count(translation.num_source_tokens)


def test_a_model_without_attention_says_so(shipped: Any) -> None:
    shipped.get_by_role("checkbox", name="en-de-none").check()
    ask(shipped, "Two dogs play in the snow.")
    one = column(shipped, "en-de-none")
    expect(one.locator(".status")).to_have_attribute("data-state", "completed")
    expect(one.get_by_text("This model has no attention")).to_be_visible()
    expect(one.get_by_role("table", name="Attention")).to_be_hidden()


def test_a_translation_goes_on_from_an_edited_beginning(shipped: Any, shipped_server: str) -> None:
    text, prefix = "Two dogs play in the snow.", "Ein kleiner Hund"
    ask(shipped, text)
    one = column(shipped, "en-de-general")
    one.get_by_label("Beginning", exact=True).fill(prefix)
    with Client(shipped_server) as client:
        options = DecodingOptions(target_prefix=prefix)
        [translation] = client.translate([text], model="en-de-general", options=options)
    expect(one.locator(".settled")).to_have_text(f"{translation.text}■")
    given = "".join(one.locator(".token.given").all_inner_texts())
    assert given == prefix.replace(" ", "")
    expect(column(shipped, "en-de-transformer").locator(".token.given")).to_have_count(0)
    one.get_by_role("button", name="Clear the beginning").click()
    expect(one.locator(".token.given")).to_have_count(0)
    expect(one.locator(".settled")).to_have_text(re.compile("^Zwei"))


def test_rows_and_text_come_with_each_token(page: Any, service: ScriptedService) -> None:
    gates = [threading.Event() for _ in range(3)]
    one, two, three = messages(["EIN", "HUND"])
    service.plays["a dog"].append([gates[0], one, gates[1], two, gates[2], three])
    ask(page, "a dog")
    shout = column(page)
    for gate, text in zip(gates, ("EIN", "EIN HUND", "EIN HUND■"), strict=True):
        num_before = rows(shout).count()
        gate.set()
        expect(shout.locator(".settled")).to_have_text(text)
        expect(rows(shout)).to_have_count(num_before + 1)
    expect(rows(shout).nth(1).get_by_role("cell").nth(1)).to_have_text("80 %")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_what_is_tentative_is_apart_and_goes_when_it_is_settled(page: Any, service: ScriptedService) -> None:
    gates = [threading.Event(), threading.Event()]
    one, two, three = messages(["EIN", "HUND"])
    one.tentative.CopyFrom(pb.Tentative(pieces=["▁HUND", "▁BELLT"], text=" HUND BELLT"))
    three.tentative.SetInParent()
    service.plays["a dog"].append([one, gates[0], two, gates[1], three])
    page.get_by_label("Search").select_option("beam")
    ask(page, "a dog")
    shout = column(page)
    expect(shout.locator(".tentative")).to_have_text(" HUND BELLT")
    expect(shout.locator(".settled")).to_have_text("EIN")
    gates[0].set()
    expect(shout.locator(".settled")).to_have_text("EIN HUND")
    expect(shout.locator(".tentative")).to_have_text(" BELLT")
    gates[1].set()
    expect(shout.locator(".tentative")).to_be_empty()
    expect(shout.locator(".heard")).to_have_text("EIN HUND")
    assert {request.options.beam_size for request in service.requests} == {4}


def test_candidates_are_shown_on_hover_and_on_focus(page: Any) -> None:
    ask(page, "a big dog")
    shout = column(page)
    expect(shout.locator(".status")).to_have_attribute("data-state", "completed")
    shout.get_by_role("button", name="BIG, 78 %").hover()
    expect(shout.get_by_role("heading", name="Candidates for token 2")).to_be_visible()
    expect(shout.locator(".bars li")).to_have_text(["BIG78 %", "other14 %"])
    page.get_by_label("Sentence").hover()
    shout.get_by_role("button", name="DOG, 78 %").focus()
    expect(shout.locator(".bars li").first).to_have_text("DOG78 %")
    expect(rows(shout).nth(2)).to_have_class("shown")


def test_the_keyboard_alone_is_enough(page: Any, service: ScriptedService) -> None:
    page.get_by_label("Sentence").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    shout = column(page)
    expect(shout.locator(".status")).to_have_attribute("data-state", "completed")
    focused = page.locator(":focus")
    for _ in range(20):
        page.keyboard.press("Tab")
        if focused.evaluate("element => element.classList.contains('token')"):
            break
    page.keyboard.press("End")
    expect(focused).to_have_text("■")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(focused).to_have_text("DOG")
    service.called.clear()
    page.keyboard.press("Enter")
    expect(focused).to_have_value("A DOG")
    assert service.called.wait(LIMIT_MS / 1000)
    assert service.requests[-1].options.target_prefix == "A DOG"
    service.called.clear()
    page.keyboard.type("S")
    assert service.called.wait(LIMIT_MS / 1000)
    assert service.requests[-1].options.target_prefix == "A DOGS"


def test_settled_text_is_said_to_who_cannot_see(page: Any) -> None:
    ask(page, "a big dog")
    said = column(page).locator("[aria-live=polite]")
    expect(said).to_have_text("A BIG DOG")
    expect(said).to_have_attribute("lang", "de")
    column(page).get_by_text("In words").click()
    expect(column(page).get_by_role("listitem").filter(has_text="DOG looks most at dog, 80 %")).to_be_visible()


def test_the_load_is_the_servers_own(service: ScriptedService, open_page: Any) -> None:
    metrics = Metrics()
    engine = metrics.engine("shout", 3, num_slots=64)
    engine.load_changed(num_rows=5, queue_length=2, queue_tokens=9)
    watch = WatchServer("127.0.0.1", 0, metrics.registry, is_live=lambda: True, is_ready=lambda: True)
    watch.start()
    try:
        with page_server(service.address, metrics_address=f"127.0.0.1:{watch.port}") as server:
            load = open_page(server).get_by_role("region", name="Server load")
            expect(load.locator("dd")).to_have_text(["5 of 64", "2", "0"])
            for _ in range(3_000):
                engine.step_made(num_rows=5, seconds=0.001)
            expect(load.locator("dd").nth(2)).not_to_have_text("0")
            engine.load_changed(num_rows=0, queue_length=0, queue_tokens=0)
            expect(load.locator("dd").first).to_have_text("0 of 64")
    finally:
        watch.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(service: ScriptedService, open_page: Any, scheme: str) -> None:
    words = [f"wort{number}" for number in range(40)] + ["Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 2]
    with page_server(service.address) as server:
        page = open_page(server, width=320, height=640, color_scheme=scheme, reduced_motion="reduce")
        ask(page, " ".join(words))
        expect(column(page).locator(".status")).to_have_attribute("data-state", "completed")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert rows(column(page)).first.evaluate("row => getComputedStyle(row).animationName") == "none"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 64) is (scheme == "dark")
