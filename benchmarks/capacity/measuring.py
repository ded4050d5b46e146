"""Measures a model's costs and fits the formula to them; every measurement beside what the formula gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.capacity.costs import Costs, ServingCost
from benchmarks.capacity.fitting import Fit
from benchmarks.capacity.graphs import Point, encode_cost, fit_points, measure_encodes, measure_steps, step_cost
from benchmarks.capacity.neighbour import neighbour
from benchmarks.capacity.serving import Model, measure_serving, served, serving_cost, sizes
from benchmarks.pinning import on_core
from benchmarks.report import Table
from service.model.onnx_model import OnnxModel

SERVER_CORE, CLIENT_CORE = 0, 1
NOTHING = ServingCost(step=0.0, token=0.0, request=0.0)


@dataclass(frozen=True)
class Measured:
    """The costs, and how well the formula fits what was measured."""

    costs: Costs
    steps: Sequence[Point]
    step_fit: Fit
    encodes: Sequence[Point]
    encode_fit: Fit
    serving_fit: Fit
    client_fit: Fit

    def tables(self) -> Iterator[Table]:
        yield from self.summary()
        yield self._points()

    def summary(self) -> Iterator[Table]:
        costs = self.costs
        mean_source, mean_target = (sum(values) / len(costs.sizes) for values in zip(*costs.sizes, strict=True))
        terms = (
            ("a step: reading the weights", costs.step.fixed),
            ("a step, for each row", costs.step.row),
            ("a step, for each target token of a row", costs.step.age),
            ("a step, for each place of a row's source", costs.step.source),
            ("an encode", costs.encode.fixed),
            ("an encode, for each token", costs.encode.token),
            ("an encode, for each pair of a source's tokens", costs.encode.pair),
            ("serving, for each step", costs.serving.step),
            ("serving, for each token", costs.serving.token),
            ("serving, for each request", costs.serving.request),
            ("a client, for each step", costs.client.step),
            ("a client, for each token", costs.client.token),
            ("a client, for each request", costs.client.request),
        )
        yield Table(
            f"{costs.model}: what a replica's work costs, on one core beside a busy one; sources of "
            f"{mean_source:.1f} tokens, targets of {mean_target:.1f} on average",
            ("", "us"),
            [(name, f"{1e6 * seconds:,.3f}") for name, seconds in terms],
        )
        yield Table(
            f"{costs.model}: how well the formula fits; the error is that of the formula, typical: the root of the "
            "mean square",
            ("", "measurements", "typical error", "worst error"),
            [
                _errors("steps", self.step_fit),
                _errors("encodes", self.encode_fit),
                _errors("serving", self.serving_fit),
                _errors("clients", self.client_fit),
            ],
        )

    def _points(self) -> Table:
        points = (*zip(self.steps, self.step_fit.errors, strict=True),)
        points += (*zip(self.encodes, self.encode_fit.errors, strict=True),)
        return Table(
            f"{self.costs.model}: every measurement of a step and an encode",
            ("", "measured, us", "formula, us", "error"),
            [
                (
                    point.what,
                    f"{1e6 * point.seconds:,.0f}",
                    f"{1e6 * point.seconds * (1 + error):,.0f}",
                    f"{error:+.0%}",
                )
                for point, error in points
            ],
        )


def measure(model: Model, machine: str, *, rounds: int) -> Measured:
    """On SERVER_CORE, with a neighbour, and then the clients of a server, on CLIENT_CORE."""
    with on_core(SERVER_CORE), neighbour(model.folder, CLIENT_CORE):
        onnx_model = OnnxModel(model.folder, num_threads=1)
        steps, encodes = measure_steps(onnx_model, rounds), measure_encodes(onnx_model)
    step_fit, encode_fit = fit_points(steps), fit_points(encodes)
    with served(model, SERVER_CORE) as server:
        graphs = Costs(
            model=model.name,
            machine=machine,
            length_multiple=onnx_model.manifest.length_multiple,
            step=step_cost(step_fit),
            encode=encode_cost(encode_fit),
            serving=NOTHING,
            client=NOTHING,
            sizes=sizes(server.address, model),
        )
        serving_fit, client_fit = measure_serving([server], model, graphs, cores=[CLIENT_CORE])
    costs = graphs.model_copy(update={"serving": serving_cost(serving_fit), "client": serving_cost(client_fit)})
    return Measured(costs, steps, step_fit, encodes, encode_fit, serving_fit, client_fit)


def _errors(name: str, found: Fit) -> tuple[str, ...]:
    return name, str(len(found.errors)), f"{found.typical_error:.1%}", f"{found.worst_error:.1%}"
