"""Promise 18: HTTP/2 that no honest client speaks reaches no model, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from h2.events import StreamReset

from service.client.server_process import ServerProcess
from tests.balance import balance_of, read_metrics
from tests.faults import attacks
from tests.faults.process import cpu_seconds, resident_mib
from tests.faults.victim import Victim

CPU_S = 20.0
"""Ten times what the worst flood of a test costs the server, and the victim beside it."""
GROWTH_MIB = 48.0


def opened(server: ServerProcess) -> int:
    return balance_of(read_metrics(server)).opened


@pytest.mark.fault(24)
def test_streams_that_are_reset_at_once_start_nothing(abused_server: ServerProcess) -> None:
    """2,000 streams opened and reset at once: none becomes a call, and the memory of the server stays."""
    attacks.rapid_reset(abused_server.address)
    before_mib, before_opened, before_s = (
        resident_mib(abused_server.pid),
        opened(abused_server),
        cpu_seconds(abused_server.pid),
    )
    attacks.rapid_reset(abused_server.address)
    assert opened(abused_server) == before_opened
    assert resident_mib(abused_server.pid) < before_mib + GROWTH_MIB
    assert cpu_seconds(abused_server.pid) < before_s + CPU_S


@pytest.mark.fault(24)
def test_interactive_streams_that_are_reset_at_once_are_all_closed(
    abused_server: ServerProcess, victim: Victim
) -> None:
    """500 interactive streams reset before their first message: what became a call is closed, the victim unharmed."""
    attacks.rapid_reset(abused_server.address, 500, method="TranslateInteractive")


@pytest.mark.fault(25)
def test_a_flood_of_pings_ends_its_connection(abused_server: ServerProcess, victim: Victim) -> None:
    """The third PING too many: GOAWAY with ENHANCE_YOUR_CALM, and the connection is closed; the victim is unharmed."""
    peer = attacks.ping_flood(abused_server.address)
    assert peer.farewell is not None
    assert peer.farewell.error_code == attacks.ENHANCE_YOUR_CALM
    assert b"too_many_pings" in (peer.farewell.additional_data or b"")


@pytest.mark.fault(26)
def test_a_flood_of_settings_costs_little(abused_server: ServerProcess, victim: Victim) -> None:
    """2,000 SETTINGS are acknowledged at next to no cost; the victim is unharmed."""
    before_s = cpu_seconds(abused_server.pid)
    attacks.settings_flood(abused_server.address)
    assert cpu_seconds(abused_server.pid) < before_s + CPU_S


@pytest.mark.fault(27)
def test_headers_without_an_end_are_not_kept(abused_server: ServerProcess, victim: Victim) -> None:
    """4 MiB of CONTINUATION are not kept: the stream is reset or the connection closed; the victim is unharmed."""
    before_mib = resident_mib(abused_server.pid)
    peer = attacks.continuation_flood(abused_server.address, 4 * 2**20)
    assert resident_mib(abused_server.pid) < before_mib + GROWTH_MIB
    assert peer.is_closed or peer.farewell or any(isinstance(event, StreamReset) for event in peer.events)


@pytest.mark.fault(24)
def test_streams_that_are_reset_in_the_middle_give_their_rows_back(
    abused_server: ServerProcess, victim: Victim
) -> None:
    """200 translations reset at any moment: every row is given back, and the victim's bytes are unchanged."""
    attacks.reset_storm(abused_server.address)


@pytest.mark.fault(18, 19)
@pytest.mark.parametrize(
    "attack",
    [
        attacks.odd_headers,
        attacks.many_fields,
        attacks.data_on_closed_stream,
        attacks.window_overflow,
        attacks.broken_frames,
    ],
)
def test_frames_and_headers_that_break_the_rules_end_no_more_than_their_own_connection(
    abused_server: ServerProcess, victim: Victim, attack: Callable[[str], object]
) -> None:
    """Odd headers, 20,000 of them, DATA on closed streams, windows that overflow, broken frames: no harm to others."""
    attack(abused_server.address)


def test_the_victim_notices_a_server_that_hurts_it(slow_server: ServerProcess) -> None:
    with pytest.raises(AssertionError, match="the victim noticed"), Victim(slow_server.address) as victim:
        victim._expected = victim._expected[:-1]
