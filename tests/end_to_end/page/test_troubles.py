"""What the page says and does where something goes wrong."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any

import grpc

from tests.reference.browser import LIMIT_MS, ask, column, expect, needs_browser, rows
from tests.reference.page_server import page_server
from tests.reference.scripted_service import End, ScriptedService, messages, scripted_service

pytestmark = needs_browser


def test_markup_in_a_text_stays_text(page: Any, service: ScriptedService) -> None:
    markup = "<img/src=x/onerror=alert(1)>"
    service.plays[markup].append(messages([markup, "<b>HUND</b>"]))
    ask(page, markup)
    expect(column(page).locator(".settled")).to_have_text(f"{markup} <b>HUND</b>■")
    expect(page.locator("main img, main b")).to_have_count(0)


def test_stopping_cancels_on_the_server(page: Any, service: ScriptedService) -> None:
    service.plays["a dog"].append([messages(["EIN"])[0], threading.Event()])
    ask(page, "a dog")
    expect(column(page).locator(".settled")).to_have_text("EIN")
    page.get_by_role("button", name="Stop").click()
    assert service.cancelled.wait(LIMIT_MS / 1000)
    expect(column(page).get_by_role("status")).to_have_text("Stopped.")


def test_a_refused_call_waits_as_long_as_the_server_says_and_is_made_again(page: Any, service: ScriptedService) -> None:
    end = End(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", pushback_ms=1500)
    service.plays["a dog"].extend([[end], [end], messages(["EIN", "HUND"])])
    ask(page, "a dog")
    expect(column(page).get_by_role("status")).to_have_text("The server is busy: it is asked again")
    for name in ("shout", "whisper"):
        expect(column(page, name).locator(".settled")).to_have_text("EIN HUND■")
    assert [metadata["x-stepstream-attempt"] for metadata in service.metadata] == ["1", "1", "2", "2"]


def test_a_stream_that_is_lost_goes_on_after_its_tokens(page: Any, service: ScriptedService) -> None:
    page.get_by_role("checkbox", name="whisper").uncheck()
    service.models.pop()
    page.reload()
    one, two, three = messages(["EIN", "HUND"])
    cut = End(grpc.StatusCode.UNKNOWN, "Stream removed", is_answered=False)
    service.plays["a dog"].extend([[one, two, cut], [three]])
    ask(page, "a dog")
    expect(column(page).get_by_role("status")).to_have_text(re.compile("it goes on after 2 tokens"))
    expect(column(page).locator(".settled")).to_have_text("EIN HUND■")
    expect(rows(column(page))).to_have_count(3)
    resumed = service.requests[1]
    assert (list(resumed.resume.token_ids), resumed.version) == ([10, 11], 3)


def test_a_model_that_is_being_loaded_is_waited_for(page: Any, service: ScriptedService) -> None:
    end = End(grpc.StatusCode.UNAVAILABLE, "the model is being loaded")
    service.plays["a dog"].extend([[end], [end], messages(["EIN"])])
    ask(page, "a dog")
    expect(column(page).get_by_role("status")).to_have_text("The model is being loaded: it is asked again")
    expect(column(page).locator(".settled")).to_have_text("EIN■")


def test_what_the_server_says_of_a_wrong_request_is_shown(page: Any, service: ScriptedService) -> None:
    said = "the text has 90 tokens; the model takes 64"
    service.plays["too much"].append([End(grpc.StatusCode.INVALID_ARGUMENT, said)])
    ask(page, "too much")
    expect(column(page).get_by_role("status")).to_have_text("The text has 90 tokens; the model takes 64.")
    service.plays["too much"][0] = messages(["VIEL"])
    column(page).get_by_role("button", name="Try again").click()
    expect(column(page).locator(".settled")).to_have_text("VIEL■")


def test_an_empty_a_long_and_a_lonely_request_are_not_sent(page: Any, service: ScriptedService) -> None:
    alert = page.get_by_role("alert")
    ask(page, "  ")
    expect(alert.filter(has_text="Type a sentence first.")).to_be_visible()
    expect(page.get_by_label("Sentence")).to_be_focused()
    ask(page, "ü" * 16_385)
    expect(alert.filter(has_text="32,770 bytes")).to_be_visible()
    page.get_by_role("checkbox", name="shout").uncheck()
    ask(page, "a dog")
    expect(alert.filter(has_text="Choose two models at least.")).to_be_visible()
    assert service.requests == []


def test_what_is_asked_before_the_models_are_there_waits_for_them(service: ScriptedService, open_page: Any) -> None:
    service.lists.clear()
    with page_server(service.address) as server:
        page = open_page(server)
        notice = page.get_by_role("status").filter(has_text="starts as soon as the server shows its models")
        ask(page, "a cat")
        expect(notice).to_be_visible()
        page.get_by_label("Sentence").fill("a dog")
        expect(notice).to_be_hidden()
        page.get_by_label("Sentence").press("Enter")
        expect(notice).to_be_visible()
        service.lists.set()
        expect(column(page).locator(".settled")).to_have_text("A DOG■")
        expect(notice).to_be_hidden()
    assert {request.text for request in service.requests} == {"a dog"}


def test_a_server_that_is_gone_is_said_and_found_again(open_page: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with page_server(f"127.0.0.1:{port}") as server:
        page = open_page(server)
        banner = page.get_by_role("alert").filter(has_text="The server cannot be reached.")
        expect(banner).to_be_visible()
        with scripted_service(port=port):
            expect(page.get_by_role("checkbox", name="whisper")).to_be_checked()
            expect(banner).to_be_hidden()
        ask(page, "a dog")
        expect(column(page).get_by_role("status")).to_have_text("No server answers.")
        expect(banner).to_be_visible()
