"""What is rendered for Kubernetes obeys its schemas and fits the server: ports, settings, metrics and times."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.metrics import Metrics
from service.server import LAST_LINES_S, LAST_THREADS_S
from service.settings import Settings
from service.web import WatchServer
from tests.contract.rendered import KUBERNETES, ROOT, Manifest, documents, manifests, with_components

OVERLAYS = {"cpu": "Dockerfile", "cuda": "Dockerfile.cuda"}
COMPONENTS = ("models-claim", "models-image", "service-monitor")
VERSIONS = ("1.31", "1.37")
"""Of Kubernetes: the oldest whose schemas know all that is used, and the newest that there are schemas of."""
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def rendered(overlay: str) -> dict[str, Manifest]:
    return manifests(KUBERNETES / "overlays" / overlay)


@pytest.fixture
def pod(rendered: dict[str, Manifest]) -> Manifest:
    spec: Manifest = rendered["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Manifest) -> Manifest:
    (one,) = pod["containers"]
    assert isinstance(one, dict)
    return one


@pytest.fixture
def watched() -> Iterator[str]:
    """The address of a server's HTTP port that is live and ready."""
    web = WatchServer("127.0.0.1", 0, CollectorRegistry(), is_live=lambda: True, is_ready=lambda: True)
    web.start()
    yield f"http://127.0.0.1:{web.port}"
    web.stop()


@pytest.fixture(scope="module")
def exported() -> dict[str, list[dict[str, str]]]:
    """The labels of every series that a server with one model shows, by name."""
    metrics = Metrics()
    metrics.engine("model", 1, num_slots=1)
    found: dict[str, list[dict[str, str]]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def settings_of(container: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(container).items():
        monkeypatch.setenv(name, value)
    return Settings()


def rules() -> list[Manifest]:
    """What prometheus-adapter is told."""
    read: list[Manifest] = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]
    return read


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_obeys_the_schema_of_its_kind(overlay: str, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    for document in documents(KUBERNETES / "overlays" / overlay):
        schemas.validate(document, version, strict=True)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_obeys_the_schemas_with_every_overlay(overlay: str, component: str, tmp_path: Path) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    plain = documents(KUBERNETES / "overlays" / overlay)
    found = documents(with_components(overlay, [component], tmp_path / "made"))
    assert found != plain
    for document in found:
        if document["kind"] != "ServiceMonitor":  # of the Prometheus operator
            schemas.validate(document, VERSIONS[-1], strict=True)


def test_the_ports_are_the_server_s(rendered: dict[str, Manifest], container: Manifest) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": DEFAULTS["port"], "metrics": DEFAULTS["metrics_port"]}
    for kind, offered in (("Service", {"grpc"}), ("HeadlessService", {"grpc", "metrics"})):
        entries = rendered[kind]["spec"]["ports"]
        assert {entry["name"] for entry in entries} == offered
        assert all(entry["targetPort"] == entry["name"] for entry in entries)
        assert all(entry["port"] == ports[entry["name"]] for entry in entries)
    admitted = {port["port"] for rule in rendered["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]}
    assert admitted == ports.keys()


def test_every_variable_is_a_setting_with_a_valid_value(
    overlay: str, container: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name.removeprefix("STEPSTREAM_").lower() for name in environment(container)}
    assert names <= DEFAULTS.keys()
    providers = ("cuda", "cpu") if overlay == "cuda" else ("cpu",)
    assert settings_of(container, monkeypatch).execution_providers == providers


def test_a_pod_is_given_the_time_that_its_server_may_take_to_stop(
    pod: Manifest, container: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(container, monkeypatch)
    assert "lifecycle" not in container  # a preStop hook would come before the signal, and out of the same time
    longest = settings.drain_delay_s + settings.grace_s + LAST_THREADS_S + LAST_LINES_S
    assert pod["terminationGracePeriodSeconds"] >= longest


def test_a_server_drains_for_longer_than_anybody_takes_to_hear_of_it(
    container: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = container["readinessProbe"]
    heard_s = probe["periodSeconds"] * (probe["failureThreshold"] + 1)
    assert settings_of(container, monkeypatch).drain_delay_s >= heard_s


def test_a_server_has_the_time_to_prove_its_models_before_it_is_given_up(
    container: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= settings_of(container, monkeypatch).probe_timeout_s


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_what_the_server_answers(probe: str, container: Manifest, watched: str) -> None:
    asked = container[probe]["httpGet"]
    assert asked["port"] == "metrics"
    assert asked["path"] == ("/livez" if probe == "livenessProbe" else "/readyz")
    with urllib.request.urlopen(watched + asked["path"], timeout=60) as response:
        assert response.status == 200


def test_a_container_has_no_privileges_and_cannot_write_to_its_image(
    overlay: str, pod: Manifest, container: Manifest
) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / OVERLAYS[overlay]).read_text(), re.MULTILINE)
    assert user
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user[1]),
        "runAsGroup": int(user[2]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_no_service_puts_its_variables_into_a_pod(pod: Manifest) -> None:
    """STEPSTREAM_PORT=tcp://... would be refused as a port."""
    assert pod["enableServiceLinks"] is False


def test_everything_selects_the_replicas_of_its_own_overlay_alone(overlay: str, rendered: dict[str, Manifest]) -> None:
    others = [manifests(KUBERNETES / "overlays" / name) for name in OVERLAYS if name != overlay]
    own, *theirs = [one["Deployment"]["spec"]["template"]["metadata"]["labels"] for one in (rendered, *others)]
    deployment = rendered["Deployment"]["spec"]
    selectors = [
        deployment["selector"]["matchLabels"],
        rendered["Service"]["spec"]["selector"],
        rendered["HeadlessService"]["spec"]["selector"],
        rendered["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        rendered["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in deployment["template"]["spec"]["topologySpreadConstraints"]),
    ]
    assert len(selectors) == 7
    for selector in selectors:
        assert selects(selector, own)
        assert not any(selects(selector, labels) for labels in theirs)


def test_replicas_are_the_autoscaler_s_and_never_fewer_than_two(rendered: dict[str, Manifest]) -> None:
    """With two, one may go and the other serves on."""
    scaler, deployment = rendered["HorizontalPodAutoscaler"]["spec"], rendered["Deployment"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"]
    assert rendered["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_asks_for_metrics_that_the_adapter_makes(rendered: dict[str, Manifest]) -> None:
    asked = [metric["pods"]["metric"]["name"] for metric in rendered["HorizontalPodAutoscaler"]["spec"]["metrics"]]
    assert sorted(asked) == sorted(rule["name"]["as"] for rule in rules())


def test_the_adapter_asks_for_series_that_the_server_shows(exported: dict[str, list[dict[str, str]]]) -> None:
    for rule in rules():
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        series = set(re.findall(r"stepstream_\w+", rule["seriesQuery"] + query))
        assert series
        assert series <= exported.keys()
        # What is divided by each other is matched label by label.
        assert len({str(exported[name]) for name in series}) == 1


@pytest.mark.parametrize("component", ["models-claim", "models-image"])
def test_models_are_mounted_read_only_where_the_image_looks_for_them(
    overlay: str, component: str, tmp_path: Path
) -> None:
    made = manifests(with_components(overlay, [component], tmp_path / "made"))
    spec = made["Deployment"]["spec"]["template"]["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "models"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "models"]
    assert mount["readOnly"] is True
    assert f"STEPSTREAM_MODEL_STORE={mount['mountPath']}" in (ROOT / OVERLAYS[overlay]).read_text()
    if component == "models-claim":
        assert volume["persistentVolumeClaim"]["claimName"] == made["PersistentVolumeClaim"]["metadata"]["name"]
    # The profile `restricted` allows claims, but no image volumes.
    profile = made["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert profile == ("restricted" if component == "models-claim" else "baseline")


def test_the_service_monitor_finds_the_port_of_the_metrics(overlay: str, tmp_path: Path) -> None:
    made = manifests(with_components(overlay, ["service-monitor"], tmp_path / "made"))
    monitor, service = made["ServiceMonitor"]["spec"], made["HeadlessService"]
    assert selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    assert not selects(monitor["selector"]["matchLabels"], made["Service"]["metadata"]["labels"])
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_overlay_that_the_page_shows_does_what_it_says(tmp_path: Path) -> None:
    page = (KUBERNETES / "README.md").read_text()
    shown = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    folder = with_components("cpu", ["service-monitor"], tmp_path / "made")
    file = folder / "kustomization.yaml"
    assert shown["resources"] == ["../cpu"]
    assert shown["components"] == ["../../components/service-monitor"]
    file.write_text(yaml.safe_dump(shown | yaml.safe_load(file.read_text())))
    made = manifests(folder)
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/translation/stepstream-models:0.1.0-7"
    assert made["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 40


def test_the_image_of_an_overlay_is_what_the_dockerfile_of_models_makes(overlay: str, container: Manifest) -> None:
    dockerfile = (KUBERNETES / "models.Dockerfile").read_text()
    name, _, tag = container["image"].partition(":")
    assert name == {"cpu": "stepstream-models", "cuda": "stepstream-cuda-models"}[overlay]
    assert f"stepstream:{tag}" in dockerfile
    assert "STEPSTREAM_MODEL_STORE=/models" in (ROOT / OVERLAYS[overlay]).read_text()
    assert "COPY . /models" in dockerfile
