"""The scripts for other load testers ask for what the protocol has, and read what it answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from service.pb import translation_pb2 as pb

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "loadtest"
NUM_TOKENS = 5
DRIVER = """
import script, { options } from './script.mjs';
import { log, start } from 'k6';
start(JSON.parse(process.argv[2]));
script();
console.log(JSON.stringify({ ...log, options }));
"""
MODULES = {
    "k6": """
export const log = { added: {}, paths: [] };
export let answers = [];
export const start = (messages) => { answers = messages; };
export const check = (value, checks) => Object.values(checks).every((holds) => holds(value));
""",
    "k6/execution": "export default { scenario: { iterationInTest: 1 } };",
    "k6/metrics": """
import { log } from 'k6';
class Metric {
  constructor(name) { this.name = name; log.added[name] = []; }
  add(value) { log.added[this.name].push(value); }
}
export { Metric as Counter, Metric as Rate, Metric as Trend };
""",
    "k6/net/grpc": """
import { answers, log } from 'k6';
export class Client {
  load(folders, file) { log.paths.push(`${folders[0]}/${file}`); }
  connect(address, parameters) { log.connected = [address, parameters]; }
}
export class Stream {
  constructor(client, method, parameters) { log.method = method; log.parameters = parameters; this.listeners = {}; }
  on(event, listener) { this.listeners[event] = listener; }
  write(message) { log.request = message; }
  end() { answers.forEach((message) => this.listeners.data(message)); this.listeners.end(); }
}
""",
}
"""Stand-ins for k6's modules: they note what a script asks for, and answer with given messages."""


def messages(*, complete: bool) -> list[dict[str, Any]]:
    """A stream of the server, as k6 shows messages."""
    stream = [pb.StreamTranslateResponse(step=pb.Step(index=index, piece="a")) for index in range(NUM_TOKENS)]
    stream[0].version = 1
    if complete:
        stream[-1].completion.text = "aaaaa"
    return [MessageToDict(message) for message in stream]


@pytest.fixture
def k6(tmp_path: Path) -> Any:
    """Runs the script's function once: k6(messages, **environment) -> what it asked for and measured."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name, text in MODULES.items():
        path = tmp_path / "node_modules" / "k6" / f"{name.replace('/', '-')}.mjs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    exports = {f".{name.removeprefix('k6')}": f"./{name.replace('/', '-')}.mjs" for name in MODULES}
    (tmp_path / "node_modules" / "k6" / "package.json").write_text(json.dumps({"name": "k6", "exports": exports}))
    (tmp_path / "driver.mjs").write_text(DRIVER)

    def run(answers: list[dict[str, Any]], **environment: str) -> Any:
        text = (SCRIPTS / "k6.js").read_text()
        (tmp_path / "script.mjs").write_text(f"const __ENV = {json.dumps(environment)};\n{text}")
        command = (node, tmp_path / "driver.mjs", json.dumps(answers))
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return run


def test_the_k6_script_asks_for_a_method_and_fields_that_the_proto_has(k6: Any) -> None:
    log = k6(messages(complete=True), ADDRESS="a:1", MODEL="m", RATE="7", TOKEN="t", TLS="1")
    assert [(SCRIPTS / path).resolve() for path in log["paths"]] == [ROOT / "protos/stepstream/v1/translation.proto"]
    service, _, method = log["method"].partition("/")
    assert pb.DESCRIPTOR.services_by_name["TranslationService"].full_name == service
    assert pb.DESCRIPTOR.services_by_name["TranslationService"].methods_by_name[method].server_streaming
    request = ParseDict(log["request"], pb.StreamTranslateRequest())
    assert request.model == "m"
    assert request.text
    assert log["connected"] == ["a:1", {"plaintext": False}]
    assert log["parameters"]["metadata"] == {"authorization": "Bearer t"}
    assert log["options"]["scenarios"]["open_loop"]["rate"] == 7


@pytest.mark.parametrize("complete", [True, False])
def test_the_k6_script_counts_tokens_and_streams_that_are_complete(k6: Any, complete: bool) -> None:
    added = k6(messages(complete=complete))["added"]
    assert (len(added["tokens"]), len(added["first_token"]), len(added["between_tokens"])) == (5, 1, 4)
    assert added["answered"] == [complete]
    assert len(added["whole"]) == complete


def test_the_locust_file_imports_nothing_but_locust_grpc_and_the_protocol() -> None:
    text = (SCRIPTS / "locustfile.py").read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - set(sys.stdlib_module_names)
    assert imported == {"grpc", "locust", "service"}
    assert set(re.findall(r"service\.\S+", text)) == {
        "service.pb.translation_pb2",
        "service.pb.translation_pb2_grpc",
    }
