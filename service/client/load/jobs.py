"""From the jobs of a scenario to what the generator sends: names filled in, sentences read, references made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.client.client import Client
from service.client.commands import LIST_TIMEOUT_S, only_model
from service.client.errors import InvalidRequestError
from service.client.load.references import ALONE, OFFLINE, is_offline, offline_references, references_of_server
from service.client.load.scenario import Job, Scenario
from service.client.load.sending import TranslateJob, WeightedJob


@dataclass(frozen=True)
class Verification:
    """Where the references of one job come from, and how many sentences have one."""

    job: str
    source: str
    num_references: int
    num_sentences: int


def read_jobs(scenario: Scenario, client: Client) -> list[WeightedJob]:
    """Asks the server for what the scenario leaves open. Raises StepstreamError or OSError."""
    return [_read_job(job, scenario, client) for job in scenario.mix]


def _read_job(job: Job, scenario: Scenario, client: Client) -> WeightedJob:
    if job.empty_steps is not None:
        return WeightedJob(job.name, job.weight, job.empty_steps)
    model = job.model or only_model(client.list_models(timeout_s=LIST_TIMEOUT_S), scenario.address)
    if job.sentences is None:
        certificate = client.get_model(model, version=job.version, timeout_s=LIST_TIMEOUT_S).certificate_json
        sentences = golden_sentences(certificate)
    else:
        sentences = read_sentences(job.sentences)
    options = job.options
    if options.sampling is not None and options.seed is None:
        options = replace(options, seed=scenario.seed)
    name = job.model_copy(update={"model": model}).name
    return WeightedJob(name, job.weight, TranslateJob(model, job.version, sentences, options, {}))


def golden_sentences(certificate_json: str) -> list[str]:
    """Of a model's certificate; raises InvalidRequestError where it has none."""
    try:
        sentences = [golden["text"] for golden in json.loads(certificate_json)["golden"]]
    except (ValueError, KeyError, TypeError):
        sentences = []
    if not sentences:
        raise InvalidRequestError("the model's certificate has no golden sentences: name a file of sentences")
    return sentences


def read_sentences(path: Path) -> list[str]:
    """The lines of a file, each once, without blank ones; raises InvalidRequestError where there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{path} is not UTF-8") from None
    sentences = list(dict.fromkeys(line for line in lines if line.strip()))
    if not sentences:
        raise InvalidRequestError(f"{path} has no sentences")
    return sentences


def add_references(
    jobs: Sequence[WeightedJob], scenario: Scenario, client: Client, store: Path | None
) -> tuple[list[WeightedJob], list[Verification]]:
    """The jobs with the reference of each sentence: from the store where there is one and its greedy search can make
    them, otherwise from the server."""
    verified: list[WeightedJob] = []
    verifications = []
    for one in jobs:
        if not isinstance(one.job, TranslateJob):
            verified.append(one)
            continue
        if store is not None and is_offline(one.job.options):
            source, references = OFFLINE, offline_references(one.job, store, client)
        else:
            source, references = ALONE, references_of_server(scenario.address, one.job, scenario.timeout_s)
        verifications.append(Verification(one.name, source, len(references), len(one.job.sentences)))
        verified.append(replace(one, job=replace(one.job, references=references)))
    return verified, verifications
