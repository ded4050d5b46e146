"""A version's folder is read without following links, waiting for pipes or touching devices."""

import os
import stat

import pytest

from service.model.errors import BundleError
from service.model.files import PlainFolder


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_bytes(b"12345")
    return path


def test_a_plain_file_is_read_whole_up_to_the_limit(folder):
    with PlainFolder(folder) as plain:
        assert plain.names() == ["file"]
        assert plain.read("file", most=5) == b"12345"
        with pytest.raises(BundleError, match="file has 5 bytes, at most 4 are read"):
            plain.read("file", most=4)


def test_the_folder_stays_the_same_where_another_one_takes_its_name(folder):
    with PlainFolder(folder) as plain:
        folder.rename(folder.with_name("moved"))
        folder.mkdir()
        (folder / "file").write_bytes(b"other")
        assert plain.read("file", most=5) == b"12345"


def test_a_file_that_may_not_be_read_is_refused(folder):
    (folder / "file").chmod(0)
    with PlainFolder(folder) as plain:
        user = os.geteuid()
        folder.chmod(0o755)
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(BundleError, match="Permission denied"):
                plain.read("file", most=5)
        finally:
            os.seteuid(user)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(folder):
    try:
        os.mknod(folder / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with PlainFolder(folder) as plain, pytest.raises(BundleError, match="not a plain file"):
        plain.read("zero", most=5)


@pytest.mark.parametrize("place", ["link", "link/folder"])
def test_a_linked_folder_is_refused(folder, place):
    (folder.parent / "link").symlink_to(folder if place == "link" else folder.parent)
    with pytest.raises(BundleError, match="is a link"):
        PlainFolder(folder.parent / place)
