"""The parameters of a request: our decoding options by name, and the few that are Triton's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from service.errors import InvalidRequestError
from service.pb import inference_pb2, translation_pb2

PRIORITIES: Mapping[int, translation_pb2.Priority.ValueType] = MappingProxyType(
    {
        0: translation_pb2.PRIORITY_NORMAL,
        1: translation_pb2.PRIORITY_HIGH,
        2: translation_pb2.PRIORITY_NORMAL,
        3: translation_pb2.PRIORITY_LOW,
    }
)
"""By Triton's numbers, of which 1 is the highest and 0 the default."""
EMPTY_FINAL = "triton_enable_empty_final_response"
"""Asks for an empty last response where the one before it is not marked; here the last one with a token always is."""
NO_TENSOR = frozenset(("num_candidates",))
"""Options for which no output would have a place."""


@dataclass(frozen=True)
class Parameters:
    """What the parameters of one request say; timeout_s is None without one."""

    options: translation_pb2.DecodingOptions
    priority: translation_pb2.Priority.ValueType
    timeout_s: float | None


def read_parameters(parameters: Mapping[str, inference_pb2.InferParameter]) -> Parameters:
    """Raises InvalidRequestError, with the name of what is unknown or has a value that it cannot have."""
    options = translation_pb2.DecodingOptions()
    priority, timeout_us = 0, 0
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        value = None if choice is None else getattr(parameter, choice)
        match name:
            case "priority":
                priority = _whole(name, value)
            case "timeout":
                timeout_us = _whole(name, value)
            case "sampling":
                if _flag(name, value):
                    options.sampling.SetInParent()
            case _ if name == EMPTY_FINAL:
                _flag(name, value)
            case _ if name in translation_pb2.Sampling.DESCRIPTOR.fields_by_name:
                _set(options.sampling, name, value)
            case _ if name in options.DESCRIPTOR.fields_by_name and name not in NO_TENSOR:
                _set(options, name, value)
            case _:
                raise _unknown(name)
    if priority not in PRIORITIES:
        raise InvalidRequestError("priority is {number}; it must be from 1, the highest, to 3", number=priority)
    return Parameters(options, PRIORITIES[priority], timeout_us / 1e6 or None)


def _set(message: Message, name: str, value: Any) -> None:
    """One field of a message, as JSON has it: a number for a number, a list written as a text for a list."""
    if value is None:
        raise _impossible(name)
    try:
        if message.DESCRIPTOR.fields_by_name[name].is_repeated:
            value = json.loads(value)
        if name == "terms":
            value = [{"phrases": phrases} for phrases in value]
        ParseDict({name: value}, message)
    except (ParseError, ValueError, TypeError, RecursionError) as error:
        raise _impossible(name) from error


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _impossible(name)
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _impossible(name)
    return value


def _impossible(name: str) -> InvalidRequestError:
    return InvalidRequestError("the parameter {field} has a value that it cannot have", field=name)


def _unknown(name: str) -> InvalidRequestError:
    """It is named only where it could be a field's name: what else was sent is in no error."""
    if not re.fullmatch("[a-z_]{1,64}", name):
        return InvalidRequestError("a parameter has a name that none of ours has")
    return InvalidRequestError("there is no parameter {field}", field=name)
