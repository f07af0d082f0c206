"""docker-compose.yml against the Compose specification's schema and against the code that it names."""

from __future__ import annotations

import ast
import importlib.resources
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema.validators import validator_for

from cli.main import app
from export.profile import load_profile
from export.tensorrt_steps import TARGETS
from orchestrator.access.scopes import Scope
from orchestrator.settings import ENV_PREFIX, Settings, load_settings
from orchestrator.types import Modality
from serving.flags import (
    CONTAINER_GRPC_PORT,
    CONTAINER_METRICS_PORT,
    CONTAINER_MODELS,
    RESTRICTED,
    container_flags,
    trace_flags,
)
from serving.repository import read_config

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PUBLISHED = {"orchestrator": {8080, 8081}, "prometheus": {9090}, "grafana": {3000}}
ONE_SHOT = {"export", "graphs", "plans", "index"}
ENV_EXAMPLE = dict(
    re.findall(r"^#?(\w+)=(.*)$", (ROOT / "deploy/compose.env.example").read_text(), re.MULTILINE)
)
REQUIRED = re.compile(r"^\$\{\w+:\?[^}]+\}$")


def test_it_is_a_compose_file() -> None:
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    validator = validator_for(schema)(schema)
    assert not [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(COMPOSE)]
    broken = COMPOSE | {"services": {"a": {"image": "x", "no_such_key": 1}}}
    assert list(validator.iter_errors(broken)), "the schema refuses nothing"


@pytest.mark.parametrize(
    ("service", "gpu", "name"), [("triton-cpu", False, ""), ("triton-gpu", True, "tensorrt")]
)
def test_triton_gets_the_flags_that_serving_generates(service: str, gpu: bool, name: str) -> None:
    flags = container_flags(gpu=gpu, config_name=name)
    assert SERVICES[service]["command"] == flags, "see `python -m serving flags`"


def test_the_gpu_serves_plans_that_a_job_has_built() -> None:
    """Graphs, then plans on the image that serves them, then Triton by configurations that name them."""
    graphs, plans, triton = SERVICES["graphs"], SERVICES["plans"], SERVICES["triton-gpu"]
    assert graphs["command"] == ["export-models", "lite", "tensorrt-graphs"]
    assert graphs["command"][2] in TARGETS
    done = {"condition": "service_completed_successfully"}
    assert plans["depends_on"] == {"graphs": done}
    assert triton["depends_on"] == {"plans": done}
    assert [service["profiles"] for service in (graphs, plans, triton)] == [["gpu"]] * 3
    assert set(SERVICES["export"]["profiles"]).isdisjoint(graphs["profiles"]), "both write embedding.json"
    dockerfile = (ROOT / plans["build"]["dockerfile"]).read_text()
    assert plans["build"] == triton["build"] | {"target": "plans"}
    assert {"FROM base AS plans", "FROM base AS server"} <= set(dockerfile.splitlines()), "one TensorRT"
    assert 'ENTRYPOINT ["python3", "-m", "export.tensorrt_job"]' in dockerfile
    for model in load_profile("lite").tensorrt:
        assert (ROOT / "model_repository" / model / "configs" / "tensorrt.pbtxt").is_file()


def test_the_job_of_plans_has_every_module_that_it_imports() -> None:
    dockerfile = (ROOT / "deploy/triton/Dockerfile").read_text()
    (line,) = re.findall(r"^COPY (export/.+) /opt/sensorium/export/$", dockerfile, re.MULTILINE)
    copied = {Path(name).stem for name in line.split()}
    for name in line.split():
        tree = ast.parse((ROOT / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
                room, _, module = node.module.partition(".")
                assert room in sys.stdlib_module_names or (room == "export" and module in copied), node.module
            elif isinstance(node, ast.Import):
                assert all(alias.name in sys.stdlib_module_names for alias in node.names)


def test_only_the_gpu_profile_takes_a_gpu() -> None:
    def devices(name: str) -> list[Any]:
        return list(SERVICES[name]["deploy"]["resources"].get("reservations", {}).get("devices", []))

    assert {name for name in SERVICES if devices(name)} == {"triton-gpu", "plans"}
    assert devices("triton-gpu")[0]["capabilities"] == ["gpu"]
    # With no kind of its own an instance takes a GPU where there is one; a decoder must not.
    for name in ("encode_text", "encode_image", "encode_audio", "encode_video", "rerank"):
        (group,) = read_config(ROOT / "model_repository" / name / "config.pbtxt").instance_group
        assert group.kind == 0, f"{name} is bound to a kind of device"


def test_models_are_those_of_the_repository_and_of_the_client() -> None:
    there = {path.parent.name for path in (ROOT / "model_repository").glob("*/config.pbtxt")}
    steps = {
        step.model_name
        for name in there
        for step in read_config(ROOT / "model_repository" / name / "config.pbtxt").ensemble_scheduling.step
    }
    assert set(CONTAINER_MODELS) == there - steps
    assert {f"embed_{modality.value}" for modality in Modality} <= set(CONTAINER_MODELS)


def test_control_of_the_models_is_restricted() -> None:
    script = (ROOT / "deploy/triton/start.sh").read_text()
    (listed,) = re.findall(r'^apis="([^"]+)"$', script, re.MULTILINE)
    assert tuple(listed.split(",")) == RESTRICTED
    assert "--http-restricted-api=${apis}:" in script
    assert "--grpc-restricted-protocol=${apis}:" in script
    for name in ("triton-cpu", "triton-gpu"):
        assert SERVICES[name]["secrets"] == ["triton_control_key"]
        assert SERVICES[name]["volumes"] == ["models:/models:ro"]


def test_little_is_published_and_that_on_loopback() -> None:
    published: dict[str, set[int]] = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert (host, outside) == ("127.0.0.1", inside), f"{name} publishes {port}"
            published.setdefault(name, set()).add(int(inside))
    assert published == PUBLISHED
    assert SERVICES["orchestrator"]["environment"]["SENSORIUM_API__HOST"] == "0.0.0.0"
    assert Settings().api.host == "127.0.0.1"


def test_only_what_must_has_a_way_out() -> None:
    networks = COMPOSE["networks"]
    ways_out = {name for name, options in networks.items() if not (options or {}).get("internal")}
    assert ways_out == {"outer"}
    isolated = {name for name, service in SERVICES.items() if service.get("network_mode") == "none"}
    assert isolated == {"plans"}
    networked = {name: service["networks"] for name, service in SERVICES.items() if name not in isolated}
    outside = {name for name, joined in networked.items() if "outer" in joined}
    assert outside == {*PUBLISHED, "export", "graphs"}

    def on(network: str) -> set[str]:
        return {name for name, joined in networked.items() if network in joined}

    assert on("serving") == {"triton-cpu", "triton-gpu", "orchestrator", "prometheus"}
    assert on("vectors") == {"milvus", "orchestrator", "prometheus"}
    assert on("storage") == {"milvus", "etcd", "minio"}
    assert on("cache") == {"redis", "orchestrator"}
    assert on("traces") == {"triton-cpu", "triton-gpu", "orchestrator"}
    assert {network for joined in networked.values() for network in joined} == set(networks)


def test_the_orchestrators_settings_exist_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["orchestrator"]["environment"]
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if value is None:  # passed on from .env where it is set there
            value = ENV_EXAMPLE[name]
        monkeypatch.setenv(name, value)
    settings = load_settings(environment)
    assert settings.tracing.endpoint == "http://collector:4317"
    assert settings.api.http_port in PUBLISHED["orchestrator"]
    assert settings.api.grpc_port in PUBLISHED["orchestrator"]
    assert settings.triton.url == f"triton:{CONTAINER_GRPC_PORT}"
    assert settings.milvus.uri == "http://milvus:19530"
    assert settings.milvus.parameters == "standalone"
    assert settings.cache.redis_url == "redis://redis:6379/0"
    # A source may be "${NAME:-path}": its colon is none of the volume's.
    volumes = {re.sub(r"\$\{[^}]*\}", "", each).split(":")[1] for each in SERVICES["orchestrator"]["volumes"]}
    assert settings.access.keys_file is not None
    access = str(settings.access.keys_file.parent)
    assert {str(settings.home), str(settings.model_repository), access} == volumes


def test_spans_of_triton_go_where_those_of_the_orchestrator_go() -> None:
    script = (ROOT / "deploy/triton/start.sh").read_text()
    told = re.findall(r"--trace-config=[^\s\"]+", script)
    assert told == trace_flags("${TRITON_TRACE_URL}")
    assert 'if [ -n "${TRITON_TRACE_URL:-}" ]' in script
    for service in ("triton-cpu", "triton-gpu"):
        assert SERVICES[service]["environment"]["TRITON_TRACE_URL"] is None
    urls = [ENV_EXAMPLE[name] for name in ("SENSORIUM_TRACING__ENDPOINT", "TRITON_TRACE_URL")]
    assert {urlsplit(url).hostname for url in urls} == {"collector"}
    assert COMPOSE["networks"]["traces"]["name"] in (ROOT / "docs/operations.md").read_text()


def test_whoever_listens_beyond_loopback_asks_for_a_key_and_callers_have_one() -> None:
    orchestrator = SERVICES["orchestrator"]["environment"]
    assert "SENSORIUM_ACCESS__KEYS_FILE" in orchestrator
    assert "SENSORIUM_API__UNAUTHENTICATED_BEYOND_LOOPBACK" not in orchestrator
    path = SERVICES["index"]["environment"]["SENSORIUM_CLIENT_CREDENTIAL_FILE"]
    assert path == f"/run/secrets/{SERVICES['index']['secrets'][0]}"
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "orchestrator"]
    assert job["authorization"] == {
        "credentials_file": f"/run/secrets/{SERVICES['prometheus']['secrets'][0]}"
    }
    example = (ROOT / "deploy/compose.env.example").read_text()
    for scope in re.findall(r"--scope (\w+)", example):
        assert scope in set(Scope)
    for secret in COMPOSE["secrets"]:
        assert f"deploy/secrets/{secret}" in example


def test_every_server_is_one_that_somebody_asks() -> None:
    """Else it stands there unused: another service has its address in a setting or a command."""
    known = {"triton-cpu": "triton", "triton-gpu": "triton"}
    for name in SERVICES.keys() - ONE_SHOT - PUBLISHED.keys():
        told = [
            word
            for other, service in SERVICES.items()
            if other != name
            for word in map(str, (*service.get("environment", {}).values(), *service.get("command", ())))
        ]
        address = re.compile(rf"(^|[/=@]){known.get(name, name)}:\d+")
        assert any(address.search(word) for word in told), f"nobody asks {name}"


def test_prometheus_asks_services_that_answer_to_their_names() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets["triton"] == [f"triton:{CONTAINER_METRICS_PORT}"]
    for service in ("triton-cpu", "triton-gpu"):
        assert SERVICES[service]["networks"]["serving"]["aliases"] == ["triton"]
    (asked,) = targets["orchestrator"]
    host, port = asked.split(":")
    environment = SERVICES["orchestrator"]["environment"]
    assert host in json.loads(environment["SENSORIUM_API__ALLOWED_HOSTS"])
    assert port == environment["SENSORIUM_API__HTTP_PORT"]
    assert set(targets) <= {*SERVICES, "triton"}


def test_commands_are_ours() -> None:
    index = SERVICES["index"]["entrypoint"]
    assert index[:2] == ["sensorium", "index"]
    assert "index" in {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert SERVICES["export"]["command"][0] == "export-models"
    assert (ROOT / "export/profiles" / f"{SERVICES['export']['command'][1]}.yaml").is_file()
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert "deploy/export.sh /usr/local/bin/export-models" in dockerfile
    assert 'ENTRYPOINT ["python", "-m", "cli.server"]' in dockerfile


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is (name != "milvus")
    limits = service["deploy"]["resources"]["limits"]
    assert limits["cpus"]
    assert limits["memory"]
    if name not in ONE_SHOT:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    assert "privileged" not in service
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    tag = image.rpartition(":")[2]
    assert re.search(r"\d+\.\d+|RELEASE\.\d{4}", tag), image
    if image.startswith("sensorium"):
        project = (ROOT / "pyproject.toml").read_text()
        assert f'version = "{tag}"' in project


def test_the_server_is_no_older_than_its_known_holes_allow() -> None:
    (release,) = re.findall(
        r"^FROM nvcr\.io/nvidia/tritonserver:(\d\d\.\d\d)-py3 AS base$",
        (ROOT / "deploy/triton/Dockerfile").read_text(),
        re.MULTILINE,
    )
    assert release >= "26.07"


def test_no_password_has_a_default() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY|ROOT_USER", variable):
                assert value is not None
                assert REQUIRED.match(value) or value.startswith("/run/secrets/"), f"{name}: {variable}"
    for secret in COMPOSE["secrets"].values():
        assert set(secret) == {"file"}
    example = (ROOT / "deploy/compose.env.example").read_text()
    named = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    for service in SERVICES.values():
        named |= {name for name, value in service.get("environment", {}).items() if value is None}
    assert named == set(ENV_EXAMPLE)
    assert not re.findall(r"^\w+=.+$", example, re.MULTILINE)
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text()


def test_named_volumes_networks_and_files_exist() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":/")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            elif not source.startswith("${"):
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"
        for dependency in service.get("depends_on", {}):
            assert dependency in SERVICES
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
