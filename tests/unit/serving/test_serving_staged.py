"""What the supervisor asks for when models of releases come and go in their folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

from serving.client import Client
from serving.server import TritonServer
from serving.settings import Settings
from serving.staged import Staged
from serving.state import ServerState


class Asked:
    """In the place of both the client and the server: remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def load(self, model: str, timeout_s: float) -> None:
        self.calls.append(f"load {model}")

    async def unload(self, model: str, timeout_s: float) -> None:
        self.calls.append(f"unload {model}")

    async def canary(self, model: str, timeout_s: float) -> float:
        return 1.0

    def stubs(self) -> dict[int, object]:
        return {}


def put(folder: Path, model: str) -> None:
    (folder / model / "1").mkdir(parents=True)
    (folder / model / "config.pbtxt").write_text(f'name: "{model}"\nbackend: "onnxruntime"')
    (folder / model / "1" / "model.onnx").write_bytes(b"")


def test_a_model_that_comes_within_the_same_tick_of_the_clock_is_loaded_too(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder, asked, passed = settings.staged, Asked(), []
    state = ServerState(supervisor_pid=1, http="", grpc="", metrics="")

    async def run() -> None:
        staged = Staged(
            settings,
            state,
            cast(TritonServer, asked),
            cast(Client, asked),
            lambda model, _ms: passed.append(model),
            lambda: None,
        )

        async def look() -> None:
            staged.step()
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
            assert not staged.is_busy

        put(folder, "rerank__r1")
        await look()
        seen = folder.stat().st_mtime_ns
        put(folder, "attend__r1")
        os.utime(folder, ns=(seen, seen))
        await look()
        assert passed == ["rerank__r1", "attend__r1"]
        await look()
        (folder / "attend__r1").rename(tmp_path / "away")
        await look()
        assert set(staged.working) == {"rerank__r1"}

    asyncio.run(run())
    assert asked.calls == ["load rerank__r1", "load attend__r1", "unload attend__r1"]
    assert state.staged == {}
