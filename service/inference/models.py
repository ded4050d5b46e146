"""What there is to tell of a loaded model, in the words of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from service import messages
from service.inference.requests import OUTPUTS
from service.inference.tensors import BYTES, INPUT
from service.metrics import VersionTotals
from service.observability.call_totals import Total
from service.pb import inference_pb2 as pb
from service.registry import LoadedModel

PLATFORM, BACKEND = "stepstream_onnx", "stepstream"
ANY = -1
"""Length of an axis that may have any."""


def metadata(model: LoadedModel, versions: list[int]) -> pb.ModelMetadataResponse:
    """The tensors of a model of which these versions serve."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=model.manifest.name,
        versions=map(str, versions),
        platform=PLATFORM,
        inputs=[tensor(name=INPUT, datatype=BYTES, shape=[ANY])],
        outputs=[tensor(name=name, datatype=datatype, shape=[ANY]) for name, datatype in OUTPUTS.items()],
    )


def config(model: LoadedModel) -> pb.ModelConfig:
    """How a model is served."""
    types = {name: pb.TYPE_STRING if datatype == BYTES else pb.TYPE_FP32 for name, datatype in OUTPUTS.items()}
    about = messages.model_message(model)
    return pb.ModelConfig(
        name=model.manifest.name,
        platform=PLATFORM,
        backend=BACKEND,
        input=[pb.ModelInput(name=INPUT, data_type=pb.TYPE_STRING, dims=[ANY])],
        output=[pb.ModelOutput(name=name, data_type=kind, dims=[ANY]) for name, kind in types.items()],
        parameters={
            field.name: pb.ModelParameter(string_value=str(value))
            for field, value in about.ListFields()
            if field.name not in ("name", "version")
        },
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
    )


def statistics(model: LoadedModel, totals: VersionTotals) -> pb.ModelStatistics:
    """What a version has done since it was loaded."""
    calls, engines = totals.calls, totals.engines
    return pb.ModelStatistics(
        name=model.manifest.name,
        version=str(model.manifest.version),
        last_inference=calls.last_ended_ms,
        inference_count=sum(engine.num_sequences for engine in engines),
        execution_count=sum(sum(engine.steps_of_rows) for engine in engines),
        inference_stats=pb.InferStatistics(
            success=_duration(calls.succeeded),
            fail=_duration(calls.failed),
            queue=_duration(calls.queue),
            compute_input=_duration(calls.encode),
            compute_infer=_duration(calls.decode),
            compute_output=_duration(calls.send),
        ),
        batch_stats=_batches(totals),
    )


def _duration(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=max(0, round(total.seconds * 1e9)))


def _batches(totals: VersionTotals) -> Iterator[pb.InferBatchStatistics]:
    counts = zip_longest(*(engine.steps_of_rows for engine in totals.engines), fillvalue=0)
    seconds = zip_longest(*(engine.seconds_of_rows for engine in totals.engines), fillvalue=0.0)
    for num_rows, (steps, took) in enumerate(zip(counts, seconds, strict=True)):
        if sum(steps):
            yield pb.InferBatchStatistics(batch_size=num_rows, compute_infer=_duration(Total(sum(steps), sum(took))))
