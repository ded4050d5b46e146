"""Requests of the Open Inference Protocol: what they are turned into, and how what is wrong with them is named."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequestError
from service.inference.parameters import read_parameters
from service.inference.requests import OUTPUTS, STREAM_OUTPUTS, asked, stream_request, translate_request, which
from service.inference.tensors import read_texts
from service.pb import inference_pb2 as pb
from service.pb import translation_pb2 as translation


def raw(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def request(*texts: str, **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        model_name="en-de",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name="text",
                datatype="BYTES",
                shape=[len(texts)],
                contents=pb.InferTensorContents(bytes_contents=[text.encode() for text in texts]),
            )
        ],
        **fields,
    )


def parameters(**values: Any) -> dict[str, pb.InferParameter]:
    kinds: dict[type, str] = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def test_every_option_of_ours_is_a_parameter_by_its_name() -> None:
    read = read_parameters(
        parameters(
            max_length=9,
            seed=7,
            beam_size=4,
            num_hypotheses=2,
            length_penalty=0.5,
            coverage_penalty=1,
            patience=2.0,
            min_length=3,
            repetition_penalty=1.5,
            no_repeat_ngram_size=2,
            suppress_tokens='["a", "ü"]',
            disable_unknown=True,
            temperature=0.5,
            top_k=3,
            top_p=0.75,
            min_p=0.25,
            target_prefix="Zwei",
            target_prefix_ids="[4, 5]",
            return_alternatives=True,
            min_alternative_expansion_prob=0.5,
            terms='[["Hund", "Tier"], ["Schnee"]]',
            untranslated='["Berlin"]',
            ignore_end_of_sequence=True,
            source_language="eng_Latn",
            target_language="deu_Latn",
        )
    ).options
    assert read == translation.DecodingOptions(
        max_length=9,
        seed=7,
        beam_size=4,
        num_hypotheses=2,
        length_penalty=0.5,
        coverage_penalty=1.0,
        patience=2.0,
        min_length=3,
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        suppress_tokens=["a", "ü"],
        disable_unknown=True,
        sampling=translation.Sampling(temperature=0.5, top_k=3, top_p=0.75, min_p=0.25),
        target_prefix="Zwei",
        target_prefix_ids=[4, 5],
        return_alternatives=True,
        min_alternative_expansion_prob=0.5,
        terms=[translation.Term(phrases=["Hund", "Tier"]), translation.Term(phrases=["Schnee"])],
        untranslated=["Berlin"],
        ignore_end_of_sequence=True,
        source_language="eng_Latn",
        target_language="deu_Latn",
    )
    unset = {field.name for field in read.DESCRIPTOR.fields} - {field.name for field, _ in read.ListFields()}
    assert unset == {"num_candidates"}, "an option that is new needs a place among the parameters"


def test_sampling_alone_has_every_default() -> None:
    assert read_parameters(parameters(sampling=True)).options.HasField("sampling")
    assert not read_parameters(parameters(sampling=False)).options.HasField("sampling")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beam_sise": 4}, "there is no parameter beam_sise"),
        ({"num_candidates": 4}, "there is no parameter num_candidates"),
        ({"sequence_id": 4}, "there is no parameter sequence_id"),
        ({"<b>": 4}, "a parameter has a name that none of ours has"),
        ({"a" * 65: 4}, "a parameter has a name that none of ours has"),
        ({"beam_size": "many"}, "the parameter beam_size has a value that it cannot have"),
        ({"beam_size": 1.5}, "the parameter beam_size has a value that it cannot have"),
        ({"beam_size": True}, "the parameter beam_size has a value that it cannot have"),
        ({"beam_size": 2**40}, "the parameter beam_size has a value that it cannot have"),
        ({"top_p": float("nan")}, "the parameter top_p has a value that it cannot have"),
        ({"terms": "Hund"}, "the parameter terms has a value that it cannot have"),
        ({"terms": '["Hund"]'}, "the parameter terms has a value that it cannot have"),
        ({"terms": "[" * 100_000}, "the parameter terms has a value that it cannot have"),
        ({"untranslated": '["\\ud800"]'}, "the parameter untranslated has a value that it cannot have"),
        ({"suppress_tokens": 4}, "the parameter suppress_tokens has a value that it cannot have"),
        ({"sampling": 1}, "the parameter sampling has a value that it cannot have"),
        ({"priority": 4}, "priority is 4; it must be from 1, the highest, to 3"),
        ({"timeout": -1}, "the parameter timeout has a value that it cannot have"),
    ],
)
def test_a_parameter_that_is_unknown_or_has_a_wrong_value_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        read_parameters(parameters(**given))
    assert str(raised.value) == message


def test_a_parameter_without_a_value_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="the parameter max_length has a value that it cannot have"):
        read_parameters({"max_length": pb.InferParameter()})


def test_priority_and_timeout_have_tritons_meaning() -> None:
    by_number = [read_parameters(parameters(priority=number)).priority for number in range(4)]
    high, normal, low = translation.PRIORITY_HIGH, translation.PRIORITY_NORMAL, translation.PRIORITY_LOW
    assert by_number == [normal, high, normal, low]
    assert read_parameters(parameters(timeout=1_500_000)).timeout_s == 1.5
    assert read_parameters({}).timeout_s is None


def test_texts_are_read_typed_and_raw() -> None:
    assert read_texts(request("a", "", "ü")) == ["a", "", "ü"]
    both = request("a", "", "ü")
    both.inputs[0].ClearField("contents")
    both.raw_input_contents.append(raw(b"a", b"", "ü".encode()))
    assert read_texts(both) == ["a", "", "ü"]


def with_raw(*contents: bytes) -> pb.ModelInferRequest:
    changed = request("a", "b", raw_input_contents=contents)
    changed.inputs[0].ClearField("contents")
    return changed


def with_input(**fields: Any) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(bytes_contents=[b"a", b"b"])
    whole: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [2], "contents": contents}
    return pb.ModelInferRequest(inputs=[pb.ModelInferRequest.InferInputTensor(**(whole | fields))])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (pb.ModelInferRequest(), "there are 0 inputs; there must be one, text"),
        (
            pb.ModelInferRequest(inputs=[pb.ModelInferRequest.InferInputTensor()] * 2),
            "there are 2 inputs; there must be one, text",
        ),
        (with_input(name="INPUT0"), "there is no such input; the one input is text"),
        (with_input(datatype="FP32"), "the datatype of the input text must be BYTES"),
        (with_input(shape=[2, 1]), "the shape of the input text has 2 axes; it must be [n]"),
        (with_input(shape=[]), "the shape of the input text has 0 axes; it must be [n]"),
        (with_input(shape=[3]), "the shape of the input text says 3 elements; there are 2"),
        (with_input(shape=[-(2**62)]), f"the shape of the input text says -{2**62} elements; there are 2"),
        (
            with_input(parameters=parameters(shared_memory_region="region")),
            "the input text takes no parameters; there is no shared memory",
        ),
        (
            with_input(contents=pb.InferTensorContents(bytes_contents=[b"a", b"\xff"])),
            "an element of the input text is not UTF-8",
        ),
        (
            request("a", raw_input_contents=[raw(b"a")]),
            "contents and raw_input_contents exclude each other",
        ),
        (with_raw(raw(b"a"), raw(b"b")), "raw_input_contents has 2 entries; there must be one for each input"),
        (with_raw(raw(b"a", b"b")[:-1]), "raw_input_contents ends within an element"),
        (with_raw(raw(b"a") + b"\0\0"), "raw_input_contents ends within an element"),
        (with_raw(b"\xff\xff\xff\xffa"), "raw_input_contents ends within an element"),
    ],
)
def test_an_input_that_is_not_texts_is_refused_with_what_is_wrong(wrong: pb.ModelInferRequest, message: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        read_texts(wrong)
    assert str(raised.value) == message


def test_a_version_is_a_number_a_label_or_the_newest() -> None:
    assert [which(version) for version in ("", "3", "0", "stable")] == [(0, ""), (3, ""), (0, ""), (0, "stable")]
    assert translate_request(request("a", model_version="stable"))[0].label == "stable"
    assert stream_request(request("a", model_version="3"), asked(request("a"), OUTPUTS))[0].version == 3


def test_outputs_are_those_that_are_asked_for() -> None:
    output = pb.ModelInferRequest.InferRequestedOutputTensor
    assert asked(request("a"), OUTPUTS).outputs == ("text", "score", "log_probability")
    attention = request("a", outputs=[output(name="attention"), output(name="text")])
    wanted = asked(attention, STREAM_OUTPUTS)
    assert wanted.outputs == ("attention", "text")
    assert stream_request(attention, wanted)[0].include_attention
    assert not stream_request(request("a"), asked(request("a"), STREAM_OUTPUTS))[0].include_attention
    for wrong, message in (
        (attention, "there is no such output"),
        (request("a", outputs=[output(name="text"), output(name="text")]), "an output is asked for twice"),
        (
            request("a", outputs=[output(name="text", parameters=parameters(classification=2))]),
            "an output takes no parameters",
        ),
        (request("a", id="é" * 129), "the id is longer than 256 bytes"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            asked(wrong, OUTPUTS)


def test_several_hypotheses_are_for_a_single_text_that_is_not_streamed() -> None:
    two = parameters(num_hypotheses=2, beam_size=2)
    assert translate_request(request("a", parameters=two))[0].options.num_hypotheses == 2
    with pytest.raises(InvalidRequestError, match="for a single text"):
        translate_request(request("a", "b", parameters=two))
    with pytest.raises(InvalidRequestError, match="for ModelInfer"):
        stream_request(request("a", parameters=two), asked(request("a"), OUTPUTS))
    with pytest.raises(InvalidRequestError, match="there are 2 texts; a request of a stream has one"):
        stream_request(request("a", "b"), asked(request("a"), OUTPUTS))
