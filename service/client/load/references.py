"""Where the references come from that streamed translations are held against: from a model store without any server, or
from the server while it has nothing else to do."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from service.client.addresses import target_of
from service.client.channel import CONNECT_TIMEOUT_S, channel_options, open_channel
from service.client.client import Client
from service.client.credentials import credentials_from
from service.client.errors import InvalidRequestError, ServerError, named_errors
from service.client.load.reference import Reference, Streamed
from service.client.load.sending import TranslateJob
from service.client.options import GREEDY, DecodingOptions
from service.client.requests import stream_request
from service.pb.translation_pb2_grpc import TranslationServiceStub

OFFLINE, ALONE = (
    "the model store, by onnxruntime without a server",
    "the server, one sentence at a time before the load",
)


def is_offline(options: DecodingOptions) -> bool:
    """Whether the translation without a server can do this: greedy search, of any length."""
    return replace(options, max_length=0, priority=GREEDY.priority) == GREEDY


def offline_references(job: TranslateJob, store: Path, client: Client) -> dict[str, Reference]:
    """Made by a process of its own; sentences that the model does not take are left out. client: of the server, which
    knows what a label means. Raises InvalidRequestError where the store has no such version, or cannot run here."""
    version = job.version if isinstance(job.version, int) else client.get_model(job.model, version=job.version).version
    asked = {
        "model_store": str(store),
        "model": job.model,
        "version": version,
        "max_length": job.options.max_length,
        "texts": list(job.sentences),
    }
    command = (sys.executable, "-m", "service.model.offline")
    made = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)  # noqa: S603
    if made.returncode:
        reason = made.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise InvalidRequestError(f"the references cannot be made from {store}: {reason[0]}")
    told = json.loads(made.stdout)
    return {
        sentence: Reference(told["version"], tuple(target["token_ids"]), target["text"])
        for sentence, target in zip(job.sentences, told["targets"], strict=True)
        if target is not None
    }


def references_of_server(address: str, job: TranslateJob, timeout_s: float) -> dict[str, Reference]:
    """What the server answers to one request after the other. Raises StepstreamError; sentences that the server finds
    wrong in themselves are left out."""
    target = target_of(address)
    options = [*channel_options(CONNECT_TIMEOUT_S), *target.options]
    references: dict[str, Reference] = {}
    with open_channel(target.name, options, credentials_from()) as channel:
        stub = TranslationServiceStub(channel)
        for sentence in job.sentences:
            request = stream_request(
                sentence, model=job.model, version=job.version, options=job.options, include_attention=False
            )
            streamed = Streamed()
            try:
                with named_errors(target.shown):
                    for message in stub.StreamTranslate(request, timeout=timeout_s, wait_for_ready=True):
                        streamed.read(message)
            except InvalidRequestError:
                continue
            if not streamed.is_complete:
                raise ServerError("the server ended a stream before it was complete")
            references[sentence] = Reference(streamed.version, tuple(streamed.token_ids), streamed.text)
    return references
