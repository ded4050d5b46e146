"""The Dockerfiles keep their promises, as far as their text shows; no container engine is asked."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from tests.contract.deployed import (
    DEFAULTS,
    DOCKERFILES,
    OURS,
    ROOT,
    arguments,
    compose_services,
    copied_sources,
    last_stage,
)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_every_base_image_is_pinned_by_version(dockerfile: str) -> None:
    defaults = dict(rest.split("=", 1) for rest in arguments(dockerfile, "ARG"))
    stages = [rest.split() for rest in arguments(dockerfile, "FROM")]
    own = {words[2] for words in stages}
    images = {re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], words[0]) for words in stages} - own
    assert images
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in images), images


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_serves_as_a_fixed_user_that_is_not_root(dockerfile: str) -> None:
    steps = last_stage(dockerfile)
    assert steps[0][1].endswith(" AS serve")
    (user,) = [rest for word, rest in steps if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert {compose_services()[name]["user"] for name in OURS} == {user}
    assert ("ENTRYPOINT", '["stepstream"]') in steps
    assert ("CMD", '["serve"]') in steps
    assert ("EXPOSE", f"{DEFAULTS['port']} {DEFAULTS['metrics_port']}") in steps


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_everything_an_image_copies_exists_and_is_in_the_build_context(dockerfile: str) -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in patterns
    for source in copied_sources(dockerfile):
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in patterns, source


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_no_image_holds_torch_or_onnx(dockerfile: str) -> None:
    locks = [source for source in copied_sources(dockerfile) if source.startswith("requirements/")]
    pinned = [
        Requirement(line.rstrip(" \\")).name
        for lock in locks
        for line in (ROOT / lock).read_text().splitlines()
        if line and line[0] not in "# "
    ]
    assert len(locks) == 2
    assert ("onnxruntime-gpu" if dockerfile == "Dockerfile.cuda" else "onnxruntime") in pinned
    assert not {"torch", "onnx", "onnxscript", "lightning-fabric"} & set(pinned)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_installs_only_what_is_locked_and_keeps_no_cache(dockerfile: str) -> None:
    installs = [
        command
        for rest in arguments(dockerfile, "RUN")
        for command in rest.split("&&")
        if re.search(r"\bpip\b.*\binstall\b", command)
    ]
    assert installs
    assert all("--no-deps" in command for command in installs)
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)
    assert any("PIP_NO_CACHE_DIR=1" in rest for rest in arguments(dockerfile, "ENV"))
