"""The server as it ships, with other timing: what would take minutes takes a second, and a step can be slow.

Arguments: alterations such as `service.transport:IDLE_MS=1000`, `step_s=0.05` for every step, `load_s=5` for every
model or `num_files=64` for the most open files, then `--`, then those of `stepstream`.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from typing import Any

from service.cli import main
from service.management import management
from service.model.slots import Slots

STEP, FILES, LOAD = "step_s", "num_files", "load_s"
LOADING = "a model is being loaded"


def slow_down(seconds: float) -> None:
    """Every decoder step takes so much longer."""
    step = Slots.step

    def slow_step(slots: Slots) -> Any:
        time.sleep(seconds)
        return step(slots)

    Slots.step = slow_step  # type: ignore[method-assign]


def slow_down_loading(seconds: float) -> None:
    """Every model takes so much longer to load; stderr tells that it has begun."""
    load_model = management.load_model

    def slow_load(*arguments: Any, **options: Any) -> Any:
        sys.stderr.write(f"{LOADING}\n")
        sys.stderr.flush()
        time.sleep(seconds)
        return load_model(*arguments, **options)

    management.load_model = slow_load  # type: ignore[attr-defined]


def alter(alteration: str) -> None:
    """Another value for a constant; raises AttributeError where there is no such constant."""
    name, _, value = alteration.partition("=")
    if name == STEP:
        slow_down(float(value))
        return
    if name == LOAD:
        slow_down_loading(float(value))
        return
    if name == FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))
        return
    module_name, _, attribute = name.partition(":")
    module = importlib.import_module(module_name)
    getattr(module, attribute)
    setattr(module, attribute, json.loads(value))


if __name__ == "__main__":
    end = sys.argv.index("--")
    for each in sys.argv[1:end]:
        alter(each)
    raise SystemExit(main(sys.argv[end + 1 :]))
