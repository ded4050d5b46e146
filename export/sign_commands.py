"""`stepstream-export make-key`, `sign` and `verify-signature`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

Commands = argparse._SubParsersAction  # argparse has no public name for it
VERSION = "MODEL_STORE/NAME/VERSION"


def add_make_key(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("make-key", help="make a key pair to sign versions with")
    parser.add_argument("key", type=Path, metavar="PRIVATE.pem", help="the public key is PRIVATE.pub.pem beside it")
    parser.set_defaults(run=_make_key)


def _make_key(options: argparse.Namespace) -> int:
    from export.sign import make_key

    sys.stdout.write(f"{options.key}: keep it secret; {make_key(options.key)}: for --trusted-keys of the server\n")
    return 0


def add_sign(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("sign", help="sign a published version")
    parser.add_argument("version", type=Path, metavar=VERSION)
    parser.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem")
    parser.set_defaults(run=_sign)


def _sign(options: argparse.Namespace) -> int:
    from export.sign import read_private_key, sign_version

    sign_version(options.version, read_private_key(options.key))
    sys.stdout.write(f"{options.version}: signed\n")
    return 0


def add_verify_signature(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("verify-signature", help="check who has signed a version, and its files")
    parser.add_argument("version", type=Path, metavar=VERSION)
    parser.add_argument("--keys", type=Path, required=True, help="PEM file or folder of trusted public keys")
    parser.set_defaults(run=_verify_signature)


def _verify_signature(options: argparse.Namespace) -> int:
    from export.sign import verify_version

    verify_version(options.version, options.keys)
    sys.stdout.write(f"{options.version}: signed by a trusted key, and whole\n")
    return 0
