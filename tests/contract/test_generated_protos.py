"""`service/pb` is what the compiler makes of `protos/`: nothing edited by hand, nothing forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "protos" / "stepstream" / "v1", ROOT / "protos" / "inference"]
GENERATED = ROOT / "service" / "pb"


def test_the_generated_code_is_what_the_protos_say(tmp_path: Path) -> None:
    protos = [f"service/pb/{path.name}" for folder in SOURCES for path in sorted(folder.glob("*.proto"))]
    outputs = [f"--{plugin}_out={tmp_path}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            *(f"-Iservice/pb={folder}" for folder in SOURCES),
            *outputs,
            *protos,
        ],
        check=True,
        env=os.environ | {"PATH": plugins},
    )
    made = {path.name: path.read_bytes() for path in (tmp_path / "service" / "pb").iterdir()}
    kept = {path.name: path.read_bytes() for path in GENERATED.glob("*_pb2*")}
    assert kept.keys() == made.keys()
    assert [name for name in sorted(made) if made[name] != kept[name]] == [], "run `make protos`"
