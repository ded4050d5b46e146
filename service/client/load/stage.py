"""A stretch of load of one kind, and how it is divided among processes."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """Requests that are due in the first warm_up_s seconds are sent and not counted. arrivals: when requests are due,
    in seconds from the start, for an open loop; num_clients: of a closed one, which lasts for duration_s."""

    name: str
    duration_s: float
    warm_up_s: float
    arrivals: tuple[float, ...] = ()
    num_clients: int = 0
    rate: float | None = None
    """Requests a second that are meant to arrive, None for a closed loop."""

    def share(self, number: int, count: int) -> Stage:
        """The part of process `number` of `count`, from 0."""
        return replace(
            self,
            arrivals=self.arrivals[number::count],
            num_clients=len(range(number, self.num_clients, count)),
        )

    @property
    def counted_s(self) -> float:
        """Seconds that count."""
        return self.duration_s - self.warm_up_s
