"""Puts a version into the model store: there all at once, or not at all.

Everything is written and proved in a hidden folder beside the version's place, then renamed: a version number
never names a folder that is not whole. A failure leaves nothing behind, a kill a hidden folder that nobody reads.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from export.errors import PublishError, VersionExistsError
from export.sign import sign_folder
from export.version_files import sync_folder
from service.model.manifest import is_model_name


def free_version(model_store: Path, name: str, version: int | None) -> int:
    """The version asked for, or the next free number. Raises PublishError, and VersionExistsError where it is there."""
    if not is_model_name(name):
        raise PublishError(f"{name!r} is no model name: a to z, 0 to 9, dot, underscore, hyphen; at most 64")
    if version is not None and version < 1:
        raise PublishError(f"a version is a number from 1, not {version}")
    place = model_store / name
    number = version or _next_version(place)
    _refuse_existing(place / str(number))
    return number


def place_version(
    model_store: Path, name: str, version: int, build: Callable[[Path], None], *, key: Ed25519PrivateKey | None = None
) -> Path:
    """MODEL_STORE/NAME/VERSION, as `build` makes it in a folder that it creates, signed where there is a key. Raises
    what `build` raises, PublishError or VersionExistsError; then nothing has been published."""
    place = model_store / name
    place.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".publishing-", dir=place))
    try:
        folder = workshop / "version"
        build(folder)
        if key is not None:
            sign_folder(folder, key)
        sync_folder(folder)
        try:
            folder.rename(place / str(version))
        except OSError as error:
            _refuse_existing(place / str(version))
            raise PublishError(f"{place / str(version)} cannot be made: {error.strerror}") from error
        sync_folder(place)
        sync_folder(model_store)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
        with suppress(OSError):
            place.rmdir()  # only where it is empty: a first version that failed
    return place / str(version)


def _next_version(place: Path) -> int:
    taken = [int(path.name) for path in place.iterdir() if path.name.isdecimal()] if place.is_dir() else []
    return max(taken, default=0) + 1


def _refuse_existing(version: Path) -> None:
    if version.exists():
        raise VersionExistsError(f"{version} exists already; a published version is never replaced")
