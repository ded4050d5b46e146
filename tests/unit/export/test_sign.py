"""Keys are made once and kept secret; a signature says who has made a version, and changes with a byte of it."""

import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from export.cli import main
from export.publish import publish

SHIPPED = Path(__file__).parents[3] / "model_store" / "en-de-dot" / "1"


@pytest.fixture
def version(tmp_path):
    return Path(shutil.copytree(SHIPPED, tmp_path / "en-de-dot" / "1"))


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


@pytest.fixture
def key(tmp_path, run):
    assert run("make-key", tmp_path / "a.pem")[0] == 0
    return tmp_path / "a.pem"


def test_a_private_key_is_its_owners_alone_and_never_replaced(key, run):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PUBLIC KEY" in key.with_name("a.pub.pem").read_bytes()
    status, said = run("make-key", key)
    assert (status, "exists already" in said) == (1, True)


def test_a_signed_version_is_whole_and_known_by_its_key(key, version, run, tmp_path):
    assert run("verify-signature", version, "--keys", key.with_name("a.pub.pem")) == (
        1,
        f"stepstream-export verify-signature: {version}: the version is not signed\n",
    )
    assert run("sign", version, "--key", key)[0] == 0
    assert run("verify-signature", version, "--keys", key.with_name("a.pub.pem"))[0] == 0
    assert sorted(path.name for path in version.parent.iterdir()) == ["1"]
    run("make-key", tmp_path / "b.pem")
    status, said = run("verify-signature", version, "--keys", tmp_path / "b.pub.pem")
    assert (status, "no trusted key" in said) == (1, True)
    (tmp_path / "both").mkdir()
    for name in ("a", "b"):
        shutil.copy(tmp_path / f"{name}.pub.pem", tmp_path / "both")
    assert run("verify-signature", version, "--keys", tmp_path / "both")[0] == 0
    (version / "manifest.json").write_bytes((version / "manifest.json").read_bytes() + b"\n")
    assert "no trusted key" in run("verify-signature", version, "--keys", tmp_path / "both")[1]


def test_what_is_damaged_is_not_signed(key, version, run):
    (version / "README.md").write_text("another card")
    status, said = run("sign", version, "--key", key)
    assert (status, "README.md" in said) == (1, True)
    assert not (version / "manifest.sig").exists()


def test_keys_that_are_none_or_of_another_kind_are_named(version, run, tmp_path):
    other = generate_private_key(SECP256R1())
    private, public = tmp_path / "ec.pem", tmp_path / "ec.pub.pem"
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "not Ed25519" in run("sign", version, "--key", private)[1]
    (version / "manifest.sig").write_bytes(b"\0" * 64)
    assert "not Ed25519" in run("verify-signature", version, "--keys", public)[1]
    public.write_text("no key")
    assert "no public key" in run("verify-signature", version, "--keys", public)[1]
    assert "cannot be read" in run("sign", version, "--key", tmp_path / "none.pem")[1]
    private.write_text("no key")
    assert "no private key" in run("sign", version, "--key", private)[1]


def test_a_version_can_be_signed_as_it_is_published(key, gru, tmp_path, run):
    folder = publish(gru.checkpoint, model_store=tmp_path / "store", name="tiny", precision="fp32", key=key)
    assert run("verify-signature", folder, "--keys", key.with_name("a.pub.pem"))[0] == 0
