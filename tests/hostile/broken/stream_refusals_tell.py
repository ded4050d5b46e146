"""A request of a stream for inference is refused with the class of its error."""

import service.inference.streams

refusal = service.inference.streams.refusal


def tells(request, error):
    response = refusal(request, error)
    response.error_message = repr(type(error))
    return response


service.inference.streams.refusal = tells
