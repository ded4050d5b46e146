"""From our own responses to those of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping

from service.errors import ServiceError
from service.inference.requests import ATTENTION, STREAM_OUTPUTS, Asked
from service.inference.tensors import Elements, add_elements, add_output, declare_output
from service.pb import inference_pb2, translation_pb2
from service.statuses import STATUS, pushback_of

STEP_OUTPUTS = frozenset(("text", "log_probability", ATTENTION))
"""What each token has."""
FINAL = "triton_final_response"
"""Parameter of every response of a stream: whether it is the request's last one."""


def infer_response(asked: Asked, done: translation_pb2.TranslateResponse) -> inference_pb2.ModelInferResponse:
    """Of several texts the best translation of each; of a single one all that it has."""
    best = [translation.hypotheses[0] for translation in done.translations]
    hypotheses = done.translations[0].hypotheses if len(done.translations) == 1 else best
    outputs: dict[str, Elements] = {
        "text": [one.text for one in hypotheses],
        "score": [one.score for one in hypotheses],
        "log_probability": [one.log_probability for one in hypotheses],
    }
    return _response(asked, done.model, done.version, outputs)


class StepResponses:
    """The responses of one request of a stream. What all of them but the last share is made once and copied: made anew
    for every token, names, shapes and parameters would cost more than the token's own."""

    def __init__(self, asked: Asked, model: str) -> None:
        self._asked = asked
        self._model = model
        self._version = 0
        self._names = tuple(name for name in asked.outputs if name in STEP_OUTPUTS)
        self._shared: inference_pb2.ModelStreamInferResponse | None = None

    def of(self, step: translation_pb2.StreamTranslateResponse) -> inference_pb2.ModelStreamInferResponse | None:
        """None of a step that settled no token and is not the last."""
        self._version = self._version or step.version
        if step.HasField("completion"):
            return inference_pb2.ModelStreamInferResponse(infer_response=self._last(step))
        if not step.HasField("step"):
            return None
        if self._shared is None:
            self._shared = self._share()
        copied = inference_pb2.ModelStreamInferResponse()
        copied.CopyFrom(self._shared)
        response = copied.infer_response
        outputs = _outputs_of(step.step)
        for place, name in enumerate(self._names):
            elements = outputs[name]
            if len(elements) != 1:
                response.outputs[place].shape[0] = len(elements)
            add_elements(response, place, elements, STREAM_OUTPUTS[name], is_raw=self._asked.is_raw)
        return copied

    def _share(self) -> inference_pb2.ModelStreamInferResponse:
        shared = inference_pb2.ModelStreamInferResponse(infer_response=self._response({}))
        for name in self._names:
            declare_output(shared.infer_response, name, STREAM_OUTPUTS[name], 1)
        shared.infer_response.parameters[FINAL].bool_param = False
        return shared

    def _last(self, step: translation_pb2.StreamTranslateResponse) -> inference_pb2.ModelInferResponse:
        done = step.completion
        outputs = _outputs_of(step.step) if step.HasField("step") else {"text": [""]}
        response = self._response({**outputs, "score": [done.hypotheses[0].score]})
        response.parameters[FINAL].bool_param = True
        reason = translation_pb2.FinishReason.Name(done.finish_reason)
        response.parameters["finish_reason"].string_param = reason.removeprefix("FINISH_REASON_").lower()
        response.parameters["num_source_tokens"].int64_param = done.num_source_tokens
        response.parameters["num_target_tokens"].int64_param = done.num_target_tokens
        return response

    def _response(self, outputs: Mapping[str, Elements]) -> inference_pb2.ModelInferResponse:
        return _response(self._asked, self._model, self._version, outputs)


def _outputs_of(step: translation_pb2.Step) -> Mapping[str, Elements]:
    """Of one token: those of STEP_OUTPUTS."""
    return {"text": [step.text_delta], "log_probability": [step.log_probability], ATTENTION: step.attention}


def refusal(request: inference_pb2.ModelInferRequest, error: ServiceError) -> inference_pb2.ModelStreamInferResponse:
    """How one request of a stream ended, while the stream goes on."""
    response = inference_pb2.ModelStreamInferResponse(error_message=str(error))
    told = response.infer_response
    told.id = request.id
    told.parameters[FINAL].bool_param = True
    told.parameters["grpc_status"].string_param = STATUS[type(error)].name
    if (pushback_ms := pushback_of(error)) is not None:
        told.parameters["grpc_retry_pushback_ms"].int64_param = pushback_ms
    return response


def _response(
    asked: Asked, model: str, version: int, outputs: Mapping[str, Elements]
) -> inference_pb2.ModelInferResponse:
    response = inference_pb2.ModelInferResponse(model_name=model, model_version=str(version), id=asked.id)
    for name in asked.outputs:
        if name in outputs:
            add_output(response, name, outputs[name], STREAM_OUTPUTS[name], is_raw=asked.is_raw)
    return response
