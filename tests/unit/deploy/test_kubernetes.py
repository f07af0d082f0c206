"""deploy/kubernetes against Kubernetes' schemas, and against the code and the compose file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from fixtures_prometheus import RULES, rules
from kubernetes_manifests import COMPOSE, FOLDER, GPU, NATIVE, ROOT, WHOLE, documents, named, pods

from orchestrator.settings import load_settings
from serving.flags import CONTAINER_GRPC_PORT, CONTAINER_METRICS_PORT, container_flags

VERSION = "1.34"
MODELS = re.compile(r'model=~"([^"]+)"')
OPERATIONS = (ROOT / "docs/operations.md").read_text()
TRACING = dict(
    re.findall(
        r"--from-literal=(\w+)=(\S+)", OPERATIONS.split("create configmap tracing")[1].partition("\n\n")[0]
    )
)
"""The configuration map that docs/operations.md has one make."""


@pytest.mark.parametrize(
    "document",
    [*(each for _, each in NATIVE), *GPU.values()],
    ids=lambda each: f"{each['kind']}-{each['metadata']['name']}",
)
def test_a_manifest_fits_the_schema(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_schema_refuses_what_does_not_fit() -> None:
    broken = json.loads(json.dumps(named("Deployment", "triton")))
    broken["spec"]["no_such_field"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_every_file_is_in_a_kustomization_and_every_entry_a_file() -> None:
    reached: set[Path] = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        patches = [patch["path"] for patch in content.get("patches", [])]
        for entry in [*content["resources"], *patches]:
            target = (path.parent / entry).resolve()
            assert target.exists(), f"{path}: {entry}"
            reached.add(target)
        for patch in content.get("patches", []):
            assert named(patch["target"]["kind"], patch["target"]["name"])
    files = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert files <= reached


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_a_pod_is_restricted_and_bounded(name: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        if name.removeprefix("gpu/") != "export" and container in pod["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_images_and_users_are_those_of_the_compose_file() -> None:
    services = COMPOSE["services"]
    sources = {
        "triton": "triton-cpu",
        "orchestrator": "orchestrator",
        "redis": "redis",
        "export": "export",
        "gpu/triton": "triton-gpu",
        "gpu/export": "graphs",
    }
    for name, pod in pods():
        service = services[sources[name]]
        assert pod["containers"][0]["image"] == service["image"]
        user, group = service["user"].split(":")
        security = pod["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))
    assert named("Milvus", "sensorium")["spec"]["components"]["image"] == services["milvus"]["image"]


def test_triton_gets_the_flags_that_serving_generates() -> None:
    plain = named("Deployment", "triton")["spec"]["template"]["spec"]["containers"][0]
    assert plain["args"] == container_flags(gpu=False)
    (patched,) = GPU["Deployment/triton"]["spec"]["template"]["spec"]["containers"]
    assert patched["args"] == COMPOSE["services"]["triton-gpu"]["command"]
    assert patched["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_gpu_server_serves_plans_that_its_own_node_has_built() -> None:
    """As compose does: graphs by the export, plans on the image that serves, then Triton."""
    services = COMPOSE["services"]
    (export,) = GPU["Job/export"]["spec"]["template"]["spec"]["containers"]
    assert export["command"] == services["graphs"]["command"]
    pod = GPU["Deployment/triton"]["spec"]["template"]["spec"]
    ((plans,), (triton,)) = pod["initContainers"], pod["containers"]
    assert (plans["image"], plans["args"]) == (services["plans"]["image"], services["plans"]["command"])
    security = plans["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == services["plans"]["user"]
    assert plans["resources"]["limits"]["nvidia.com/gpu"] == triton["resources"]["limits"]["nvidia.com/gpu"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for each in volumes.values()
        if "persistentVolumeClaim" in each
    ]
    assert sorted(claims) == ["models", "plans"], "a claim is mounted once in a pod, or some drivers hang"
    assert not volumes["models"]["persistentVolumeClaim"]["readOnly"]
    mounts = [
        {each["mountPath"]: each for each in container["volumeMounts"]} for container in (plans, triton)
    ]
    assert [each["/models"].get("readOnly", False) for each in mounts] == [False, True]
    repository, cache = plans["args"][1::2]
    assert (mounts[0][repository]["name"], mounts[0][cache]["name"]) == ("models", "plans")
    kept = GPU["PersistentVolumeClaim/plans"]["spec"]
    assert kept["accessModes"] == named("PersistentVolumeClaim", "models")["spec"]["accessModes"]
    writes = named("Job", "export")["spec"]["template"]["spec"]["securityContext"]["fsGroup"]
    assert pod["securityContext"]["fsGroup"] == writes == security["runAsGroup"]


def test_the_orchestrators_settings_exist_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    container = named("StatefulSet", "orchestrator")["spec"]["template"]["spec"]["containers"][0]
    environment = {each["name"]: each.get("value") or told(each) for each in container["env"]}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(environment)
    assert settings.tracing.endpoint == TRACING["orchestrator"]
    assert settings.tracing.sample_ratio == float(TRACING["ratio"])
    assert settings.milvus.parameters == "cluster"
    assert settings.access.keys_file is not None
    assert not settings.api.unauthenticated_beyond_loopback
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounts[str(settings.access.keys_file.parent)] == "access"
    # The operator names a service after its resource.
    release, namespace = named("Milvus", "sensorium")["metadata"]["name"], "sensorium-milvus"
    assert settings.milvus.uri == f"http://{release}-milvus.{namespace}.svc:19530"
    assert settings.triton.url == f"dns:///triton.sensorium.svc:{CONTAINER_GRPC_PORT}"
    (port,) = named("Service", "redis")["spec"]["ports"]
    assert settings.cache.redis_url == f"redis://redis:{port['port']}/0"
    assert {port["containerPort"] for port in container["ports"]} == {
        settings.api.http_port,
        settings.api.grpc_port,
    }
    for probe in ("startupProbe", "readinessProbe"):
        (header,) = container[probe]["httpGet"]["httpHeaders"]
        assert header["value"] in settings.api.allowed_hosts
        assert (
            f'@app.get("{container[probe]["httpGet"]["path"]}")'
            in (ROOT / "orchestrator/rest/app.py").read_text()
        )
    (monitor,) = [each for _, each in WHOLE if each["kind"] == "ServiceMonitor"][:1]
    (relabeling,) = monitor["spec"]["endpoints"][0]["relabelings"]
    host, port = relabeling["replacement"].split(":")
    assert host in settings.api.allowed_hosts
    assert int(port) == settings.api.http_port


def told(variable: dict[str, Any]) -> str:
    """What the documented configuration map gives a variable, which is unset without that map."""
    source = variable["valueFrom"]["configMapKeyRef"]
    assert (source["name"], source["optional"]) == ("tracing", True)
    return TRACING[source["key"]]


def test_spans_may_leave_for_the_collector_alone() -> None:
    (variable,) = [
        each
        for each in named("Deployment", "triton")["spec"]["template"]["spec"]["containers"][0]["env"]
        if each["name"] == "TRITON_TRACE_URL"
    ]
    assert "${TRITON_TRACE_URL}" in (ROOT / "deploy/triton/start.sh").read_text()
    policy = named("NetworkPolicy", "traces")["spec"]
    (pods_of,) = policy["podSelector"]["matchExpressions"]
    assert pods_of["values"] == ["orchestrator", "triton"]
    ((way,), (to,)) = policy["egress"], policy["egress"][0]["to"]
    namespace = to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    urls = [urlsplit(url) for url in (TRACING["orchestrator"], told(variable))]
    assert {url.hostname for url in urls} == {f"collector.{namespace}.svc"}
    assert [port["port"] for port in way["ports"]] == [url.port for url in urls]


def test_one_orchestrator_writes_and_no_budget_holds_up_a_drain() -> None:
    stateful = named("StatefulSet", "orchestrator")["spec"]
    assert stateful["replicas"] == 1
    assert stateful["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert named("PodDisruptionBudget", "orchestrator")["spec"]["maxUnavailable"] == 1
    scaler = named("HorizontalPodAutoscaler", "triton")["spec"]
    assert scaler["minReplicas"] > named("PodDisruptionBudget", "triton")["spec"]["minAvailable"]
    assert "replicas" not in named("Deployment", "triton")["spec"]


def test_the_autoscaler_goes_by_a_metric_that_the_adapter_makes() -> None:
    (metric,) = named("HorizontalPodAutoscaler", "triton")["spec"]["metrics"]
    config = yaml.safe_load(named("ConfigMap", "adapter-config")["data"]["config.yaml"])
    (rule,) = config["rules"]
    (alert,) = [each for each in rules() if each.get("alert") == "SensoriumTritonQueueWait"]
    assert set(MODELS.findall(rule["metricsQuery"])) == set(MODELS.findall(alert["expr"]))
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    for part in ("nv_inference_queue_duration_us", "nv_inference_request_duration_us"):
        assert part in rule["metricsQuery"]


def test_only_the_orchestrator_reaches_triton_redis_and_milvus() -> None:
    for folder in ("base", "milvus"):
        deny = named("NetworkPolicy", "default-deny", folder)["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    orchestrator = {"matchLabels": {"app.kubernetes.io/name": "orchestrator"}}
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    inference, metrics = named("NetworkPolicy", "triton")["spec"]["ingress"]
    assert inference["from"] == [{"podSelector": orchestrator}]
    assert [port["port"] for port in inference["ports"]] == [CONTAINER_GRPC_PORT]
    assert metrics["from"] == [{"namespaceSelector": monitoring}]
    assert [port["port"] for port in metrics["ports"]] == [CONTAINER_METRICS_PORT]
    (cached,) = named("NetworkPolicy", "redis")["spec"]["ingress"]
    assert cached["from"] == [{"podSelector": orchestrator}]
    to_redis = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}
    ways = {
        (str(each["to"][0]), port["port"])
        for each in named("NetworkPolicy", "orchestrator")["spec"]["egress"]
        for port in each["ports"]
    }
    for port in cached["ports"]:
        assert (str(to_redis), port["port"]) in ways
    others = named("NetworkPolicy", "milvus", "milvus")["spec"]["ingress"]
    (search,) = [each for each in others if {"protocol": "TCP", "port": 19530} in each.get("ports", [])]
    (source,) = search["from"]
    assert source["podSelector"] == orchestrator


def test_rules_are_those_of_deploy_prometheus() -> None:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    rule = named("PrometheusRule", "sensorium")["spec"]["groups"]
    assert sorted(rule, key=lambda each: each["name"]) == sorted(groups, key=lambda each: each["name"])


def test_the_cluster_is_for_twelve_nodes() -> None:
    spec = named("Milvus", "sensorium")["spec"]
    assert spec["mode"] == "cluster"
    query = spec["components"]["queryNode"]
    assert query["replicas"] == 12
    (rule,) = query["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    # Milvus 2.6 knows neither separate coordinators nor index nodes.
    assert not {"rootCoord", "dataCoord", "queryCoord", "indexCoord", "indexNode"} & set(spec["components"])


def test_secrets_are_named_and_none_is_written_here() -> None:
    assert not [path for path, each in documents() if each["kind"] == "Secret"]
    for name in ("triton-control", "minio-credentials", "access-keys", "metrics-key"):
        assert name in OPERATIONS
