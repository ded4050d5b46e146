"""The environment that other libraries live in: made once, of what requirements.txt pins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.report import ROOT, LeftOutError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".venv" / "competitors"
INSTALL_TIMEOUT_S = 600


def python() -> Path:
    """The environment's interpreter; makes the environment where there is none of these requirements.

    It sees the packages of this environment behind its own: torch, numpy and onnxruntime. Raises LeftOutError where it
    cannot be made."""
    stamp = FOLDER / "made"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    interpreter = FOLDER / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return interpreter
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    own = Path(_run([str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (own / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run([str(interpreter), "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1", "-r", str(REQUIREMENTS)])
    stamp.write_text(wanted)
    return interpreter


def _run(command: list[str]) -> str:
    """What the command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOutError(f"{FOLDER.relative_to(ROOT)} cannot be made: {error}") from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise LeftOutError(f"{FOLDER.relative_to(ROOT)} cannot be made: {errors[-1] if errors else 'no reason given'}")
    return done.stdout
