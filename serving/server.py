"""The tritonserver process: command line, environment, start, stop, Python stubs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import py_compile
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving.flags import common_flags, load_flags, trace_flags
from serving.leftovers import mark, remove_shared_memory, sweep
from serving.settings import Settings

__all__ = ["Stub", "TritonServer", "command_line", "compile_steps", "environment"]

LOG_FILE = "tritonserver.log"
_HOST = "127.0.0.1"
_KILL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Stub:
    """A Python process of one model instance."""

    pid: int
    model: str
    region: str
    """Name of its shared memory."""
    instance: str
    """As Triton calls it; one that is loaded again has the same name."""


def command_line(settings: Settings, models: Iterable[str]) -> list[str]:
    """Of the embedded server: loopback only."""
    tree, prefix = settings.tree, mark(settings.home)
    command = [
        str(tree / "bin" / "tritonserver"),
        f"--model-repository={settings.model_repository.absolute()}",
        f"--model-repository={settings.staged}",
        f"--backend-directory={tree / 'backends'}",
        # The backend's name, not only its family's, selects the setting.
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--backend-config=onnxruntime,shm-region-prefix-name={prefix}",
        *common_flags(
            load_threads=settings.load_threads, exit_timeout_s=max(1, int(settings.stop_timeout_s / 2))
        ),
        f"--http-address={_HOST}",
        f"--http-port={settings.http_port}",
        f"--http-thread-count={settings.http_threads}",
        f"--grpc-address={_HOST}",
        f"--grpc-port={settings.grpc_port}",
        f"--metrics-address={_HOST}",
        f"--metrics-port={settings.metrics_port}",
        "--allow-gpu-metrics=false",
    ]
    if settings.response_cache_bytes:
        command.append(f"--cache-directory={tree / 'caches'}")
        command.append(f"--cache-config=local,size={settings.response_cache_bytes}")
    if settings.config_name:
        command.append(f"--model-config-name={settings.config_name}")
    if settings.trace_url is not None:
        command += trace_flags(settings.trace_url)
    return command + load_flags(models)


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: little is passed on, and nothing that changes Python or the loader."""
    passed = {
        key: value
        for key, value in inherited.items()
        if key in ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR") or key.startswith("SENSORIUM_MEDIA_")
    }
    return {
        **passed,
        # The stub's Python takes the first python3 in PATH for its own and so enters that environment.
        "PATH": os.pathsep.join([str(settings.environment / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]),
        "LD_LIBRARY_PATH": str(settings.tree / "lib"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def compile_steps(repository: Path) -> None:
    """Compiles the Python models, where that was not done before and the folders can be written to.

    Else their first load would do it, and a folder that changed counts as a new model: Triton would load it
    again together with the next ensemble that uses it.
    """
    for source in repository.glob("*/[0-9]*/*.py"):
        with contextlib.suppress(OSError, py_compile.PyCompileError):  # Triton says what is wrong with it
            py_compile.compile(str(source), doraise=True)


class TritonServer:
    """One server process and everything below it. Not started again: make a new one."""

    def __init__(self, settings: Settings, models: Iterable[str]) -> None:
        self._settings = settings
        self._mark = mark(settings.home)
        self._command = command_line(settings, models)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Launch. The last log is kept as tritonserver.log.1. Raises OSError when the binary cannot run."""
        # Triton serves nothing where one of its repositories is missing.
        self._settings.staged.mkdir(parents=True, exist_ok=True)
        run = self._settings.run
        log = run / LOG_FILE
        if log.exists():
            log.replace(run / f"{LOG_FILE}.1")
        # When this process dies without a word, the kernel ends the server, and its stubs follow it.
        wrapper = [setpriv, "--pdeathsig", "TERM", "--"] if (setpriv := shutil.which("setpriv")) else []
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                wrapper + self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(self._settings, os.environ),
                cwd=run,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; also before it was started."""
        return self._process.poll() if self._process else None

    def stubs(self) -> dict[int, Stub]:
        """Live Python processes by pid. A dead one that Triton has not collected is not among them."""
        stubs: dict[int, Stub] = {}
        if self._process is None:
            return stubs
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.Error:
            return stubs
        for child in children:
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    continue
                command = child.cmdline()
            except psutil.Error:
                continue
            # stub MODEL_FILE REGION ... INSTANCE RUNTIME; MODEL_FILE is <repository>/<model>/<version>/<file>
            if len(command) > 4 and self._mark in command[2]:
                stubs[child.pid] = Stub(child.pid, Path(command[1]).parts[-3], command[2], command[-2])
        return stubs

    def kill_stubs(self, stubs: Iterable[Stub]) -> None:
        """End those that still run."""
        live = self.stubs()
        for stub in stubs:
            if live.get(stub.pid) == stub:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stub.pid, signal.SIGKILL)

    def drop_dead_memory(self) -> int:
        """Unlink shared memory of stubs that are gone. Not while a model is being loaded."""
        return remove_shared_memory(self._mark, frozenset(stub.region for stub in self.stubs().values()))

    async def stop(self) -> None:
        """Drain and end it within stop_timeout_s, by force if need be; then remove whatever is left."""
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):  # then by force
                    await asyncio.to_thread(process.wait, self._settings.stop_timeout_s)
            await self.kill()
        else:
            await asyncio.to_thread(sweep, self._mark, _KILL_TIMEOUT_S)

    async def kill(self) -> None:
        """End it at once, stubs too, and remove its shared memory."""
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.kill()
            await asyncio.to_thread(process.wait, _KILL_TIMEOUT_S)
        await asyncio.to_thread(sweep, self._mark, _KILL_TIMEOUT_S)
