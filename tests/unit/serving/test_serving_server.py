from __future__ import annotations

import hashlib
import os
import re
import wave
import zipfile
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from serving import ServerState, Settings, is_supervised, read_state
from serving.canary import CANARY_INPUTS, canary_bytes, check_outputs
from serving.errors import AlreadyRunningError, InstallError, PythonLibraryError
from serving.leftovers import mark, remove_shared_memory
from serving.lock import supervisor_lock
from serving.python_library import python_library
from serving.server import command_line, environment
from serving.state import write_state
from serving.wheel import fetch_wheel, unpack_server


def settings(home: Path, **fields: object) -> Settings:
    return Settings(home=home, **fields)  # type: ignore[arg-type]


def test_the_server_listens_on_loopback_alone(tmp_path: Path) -> None:
    command = command_line(settings(tmp_path), ["a", "b"])
    for face in ("http", "grpc", "metrics"):
        assert f"--{face}-address=127.0.0.1" in command
    assert "--model-control-mode=explicit" in command
    assert [part for part in command if part.startswith("--load-model=")] == [
        "--load-model=a",
        "--load-model=b",
    ]


def test_the_configuration_is_named_unless_it_is_the_plain_one(tmp_path: Path) -> None:
    assert "--model-config-name=embedded" in command_line(settings(tmp_path), [])
    plain = command_line(settings(tmp_path, config_name=""), [])
    assert not any(part.startswith("--model-config-name") for part in plain)


def test_the_response_cache_is_off_unless_it_has_a_size(tmp_path: Path) -> None:
    assert not any(part.startswith("--cache") for part in command_line(settings(tmp_path), []))
    command = command_line(settings(tmp_path, response_cache_bytes=1_000_000), [])
    assert "--cache-config=local,size=1000000" in command


def test_it_traces_only_where_it_is_told_a_collector(tmp_path: Path) -> None:
    assert not any(part.startswith("--trace") for part in command_line(settings(tmp_path), []))
    url = "http://127.0.0.1:4318/v1/traces"
    traced = command_line(settings(tmp_path, trace_url=url), [])
    assert f"--trace-config=opentelemetry,url={url}" in traced
    assert "--trace-config=rate=0" in traced
    with pytest.raises(ValidationError):
        settings(tmp_path, trace_url="collector:4318")


def test_the_environment_passes_on_little(tmp_path: Path) -> None:
    inherited = {"SECRET": "x", "PYTHONPATH": "/x", "LD_PRELOAD": "/x", "SENSORIUM_MEDIA_MAX_BYTES": "9"}
    passed = environment(settings(tmp_path), inherited)
    assert set(passed) & set(inherited) == {"SENSORIUM_MEDIA_MAX_BYTES"}
    assert passed["PATH"].split(os.pathsep)[0].endswith("/.venv-triton/bin")


def test_homes_have_marks_of_their_own(tmp_path: Path) -> None:
    assert mark(tmp_path / "a") != mark(tmp_path / "b")
    assert re.fullmatch(r"sensorium_[0-9a-f]{12}_", mark(tmp_path))


def test_shared_memory_in_use_is_kept(tmp_path: Path) -> None:
    own = mark(tmp_path)
    regions = [Path("/dev/shm") / f"{own}{name}" for name in ("kept", "dead")]
    try:
        for region in regions:
            region.write_bytes(b"x")
        assert remove_shared_memory(own, frozenset({regions[0].name})) == 1
        assert [region.exists() for region in regions] == [True, False]
    finally:
        for region in regions:
            region.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GRPC_PORT", "0"), ("GRPC_PORT", "8000"), ("START_TIMEOUT_S", "-1"), ("NO_SUCH_THING", "1")],
)
def test_bad_settings_fail_the_start(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"SENSORIUM_SERVING_{variable}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    monkeypatch.setenv("SENSORIUM_SERVING_GRPC_PORT", "9001")
    read = Settings()
    assert (read.run, read.grpc_port, read.http_port) == (tmp_path / "run", 9001, 8000)
    with pytest.raises(ValidationError):
        read.grpc_port = 1  # type: ignore[misc]


def test_one_supervisor_for_each_home(tmp_path: Path) -> None:
    assert not is_supervised(tmp_path)
    with supervisor_lock(tmp_path):
        assert is_supervised(tmp_path)
        with pytest.raises(AlreadyRunningError), supervisor_lock(tmp_path):
            pass
    assert not is_supervised(tmp_path)


def test_the_state_file_is_read_back_and_rubbish_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    state = ServerState(supervisor_pid=1, http="h", grpc="g", metrics="m")
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    (tmp_path / "tritonserver.json").write_text('{"phase": "re')
    assert read_state(tmp_path) is None


def test_canaries_are_real_content_and_never_the_same() -> None:
    assert all(canary_bytes(name) != canary_bytes(name) for name in CANARY_INPUTS)
    assert canary_bytes("text").decode().startswith("canary")
    with Image.open(BytesIO(canary_bytes("image"))) as picture:
        picture.load()
        assert picture.format == "PNG"
    with wave.open(BytesIO(canary_bytes("audio"))) as sound:
        assert sound.getnframes() == sound.getframerate() == 16_000
    with av.open(BytesIO(canary_bytes("video"))) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 10


def test_answers_are_judged() -> None:
    unit = np.zeros((1, 4), np.float32)
    unit[0, 1] = 1
    assert check_outputs({"embedding": unit, "text": np.array([[b"x"]], object)}) == ""
    assert "norm" in check_outputs({"embedding": 2 * unit})
    assert "finite" in check_outputs({"embedding": unit * np.nan})
    assert check_outputs({"score": np.array([[-3.0]])}) == ""


def test_the_python_library_is_of_this_version() -> None:
    assert python_library().name == "libpython3.11.so.1.0"


def test_a_missing_python_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _name: None)
    monkeypatch.setattr("sys.base_prefix", str(tmp_path))
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with pytest.raises(PythonLibraryError, match=r"apt-get install libpython3\.11"):
        python_library()


def wheel_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_unpacking_is_whole_or_nothing(tmp_path: Path) -> None:
    names = [
        "nvidia_pytriton.libs/a.so",
        "nvidia_pytriton-0.7.0.dist-info/licenses/LICENSE",
        "pytriton/tritonserver/backends/python/b.so",
        "pytriton/tritonserver/bin/tritonserver",
        "pytriton/tritonserver/caches/local/c.so",
        "pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub",
    ]
    tree = tmp_path / "triton"
    with pytest.raises(InstallError, match="holds no pytriton/tritonserver/python_backend_stubs"):
        unpack_server(wheel_of(tmp_path / "a.whl", *names[:-1]), tree, "3.11")
    assert not tree.exists()
    unpack_server(wheel_of(tmp_path / "b.whl", *names), tree, "3.11")
    assert os.access(tree / "bin" / "tritonserver", os.X_OK)
    assert os.access(tree / "backends" / "python" / "triton_python_backend_stub", os.X_OK)
    assert (tree / "lib" / "a.so").read_text() == names[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.whl", "b.whl", "triton"]


def test_a_damaged_wheel_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = b"good bytes"
    digest = hashlib.sha256(good).hexdigest()
    monkeypatch.setattr("serving.wheel.SHA256", digest)
    cached = tmp_path / digest / "nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl"
    cached.parent.mkdir()
    cached.write_bytes(good)
    assert fetch_wheel(tmp_path, 1.0) == cached
    cached.write_bytes(b"damaged")
    monkeypatch.setattr("sys.executable", "/bin/false")  # pip cannot help
    with pytest.raises(InstallError, match="cannot fetch nvidia-pytriton"):
        fetch_wheel(tmp_path, 10.0)
