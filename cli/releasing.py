"""Staging, promoting and rolling back releases of a running embedded system.

The state file says what should be served; the orchestrator follows it and says in its status what is. Models
are put into a folder; Triton's supervisor follows that and says in its state file what works. So a command
that is interrupted leaves nothing half done: each step is one change of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.client import Client, NotRunningError
from cli.release_gate import Figure, encoder_figures, relevance_figures
from cli.release_models import remove_models, write_models
from orchestrator.calibrate import load_embedding_set
from orchestrator.settings import Settings
from releases import changes
from releases.command_lock import at_work
from releases.errors import ReleaseError, StateError
from releases.manifest import Manifest, load, parameters_sha256, verify
from releases.naming import SEPARATOR
from releases.state import Bounds, Canary, State, change_state, read_state
from sensorium.v1 import sensorium_pb2 as pb
from serving import client as triton
from serving.errors import ControlError
from serving.state import Phase, ServerState
from serving.state import read_state as read_server

__all__ = ["GateError", "Releasing"]

LOAD_TIMEOUT_S = 300.0
FOLLOW_TIMEOUT_S = 60.0
UNLOAD_TIMEOUT_S = 120.0
POLL_S = 0.1


class GateError(ReleaseError):
    """A release has not shown what it must; ``figures`` are all of them."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self.figures = tuple(figures)
        failed = [str(figure) for figure in self.figures if not figure.passed]
        super().__init__("the gate refuses it: " + "; ".join(failed))


@dataclass(frozen=True)
class Releasing:
    """``tell`` is told what is waited for, and every figure of a gate."""

    settings: Settings
    milvus: Path
    target: str
    tell: Callable[[str], None] = lambda _line: None

    @property
    def home(self) -> Path:
        return self.settings.home.absolute()

    @property
    def own(self) -> str:
        """What Status calls the repository's own set."""
        return load_embedding_set(self.settings.model_repository).version

    def stage(self, name: str, catalogue: Path, relevance: bool = True) -> list[Figure]:
        """Loads a release beside what answers and holds it to the gate. What is served does not change.

        Raises:
            GateError: a figure is out of bounds; everything is as it was.
            StateError: it is staged already, or another command is at work.
            ReleaseError: it is broken, made for other collections, or its models do not load.
            ClientError: the system does not run.
        """
        with at_work(self.home, f"stage {name}"):
            return self._stage(name, catalogue, relevance)

    def _stage(self, name: str, catalogue: Path, relevance: bool) -> list[Figure]:
        manifest = verify(self.home, name)
        state = read_state(self.home)
        if name in (*state.gated, state.current, state.previous):
            raise StateError(f"release {name} is staged already")
        if manifest.milvus != parameters_sha256(self.milvus):
            raise ReleaseError(f"release {name} was made for other collections than those of {self.milvus}")
        self._status()
        # Right after `up` the models answer while their first canaries are still to come.
        self._until(lambda: not self._starts(), "Triton has started")
        self._server()
        self._take_back(name)  # what a staging that was killed has left
        try:
            self._load(manifest)
            self.tell("measuring the encoders")
            figures = asyncio.run(self._encoders(manifest, catalogue))
            self._require(figures)
            change_state(self.home, lambda state: changes.staged(state, name), f"stage {name}")
            self._until_filled(name)
            if relevance:
                self.tell("measuring relevance")
                figures += relevance_figures(self.target, catalogue, name, self._status().release)
                self._require(figures)
            change_state(self.home, lambda state: changes.gated(state, name), f"{name} passed the gate")
        except BaseException:
            self._take_back(name)
            raise
        return figures

    def canary(self, name: str, percent: float, bounds: Bounds) -> State:
        """Gives a staged release a share of the users; 0 ends it. Raises StateError."""

        def change(state: State) -> State:
            if percent == 0:
                return changes.canary_ended(state, name)
            canary = Canary(release=name, percent=percent, since_s=time.time(), bounds=bounds)
            return changes.canary_started(state, canary)

        return change_state(self.home, change, f"canary {name} {percent:g} %")

    def promote(self, name: str) -> State:
        """Makes a staged release the current one, once it is whole, and unloads those that are out.

        Raises:
            StateError: it is not staged, has not passed the gate, or is the current one already; or another
                command is at work.
            ReleaseError: it does not answer, or nothing follows.
        """
        load(self.home, name)
        with at_work(self.home, f"promote {name}"):
            state = read_state(self.home)
            changes.promoted(state, name)
            self._until_filled(name)
            changed = change_state(self.home, lambda state: changes.promoted(state, name), f"promote {name}")
            self._until_current(name)
            self._unload(set(state.staged) - set(changed.staged))
            return changed

    def unstage(self, name: str) -> State:
        """Takes a staged release out and unloads its models; its files stay, and it can be staged again.

        Raises:
            StateError: it is not staged, or is current or previous; or another command is at work.
            ReleaseError: its models are not unloaded in time.
        """
        with at_work(self.home, f"unstage {name}"):
            changed = change_state(self.home, lambda state: changes.unstaged(state, name), f"unstage {name}")
            self._unload({name})
            return changed

    def rollback(self, why: str = "") -> State:
        """Goes back to the release before, which is loaded still; the repository's own set if there was none.

        A system that does not run starts with it.

        Raises:
            StateError: there is nothing to go back to.
        """
        changed = change_state(self.home, changes.rolled_back, "rollback", why)
        with contextlib.suppress(NotRunningError):
            self._until_current(changed.current or self.own)
        return changed

    def _load(self, manifest: Manifest) -> None:
        name = manifest.name
        models = write_models(self.home, manifest, self.settings.model_repository)
        self.tell(f"loading {', '.join(models)}")
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while missing := [model for model in models if model not in self._server().models]:
            failed = {
                model: said
                for model, said in self._server().staged.items()
                if model in models and said.startswith("failed")
            }
            if failed:
                said = "; ".join(f"{model} {why}" for model, why in failed.items())
                raise ReleaseError(f"models of release {name} do not work: {said}")
            if time.monotonic() > deadline:
                raise ReleaseError(f"not loaded within {LOAD_TIMEOUT_S:g} s: {', '.join(missing)}")
            time.sleep(POLL_S)

    async def _encoders(self, manifest: Manifest, catalogue: Path) -> list[Figure]:
        async with triton.Client(self._server().grpc) as client:
            try:
                return await encoder_figures(client, self.home, manifest, catalogue)
            except ControlError as error:
                raise ReleaseError(str(error)) from error

    def _require(self, figures: list[Figure]) -> None:
        if not all(figure.passed for figure in figures):
            raise GateError(figures)

    def _until_filled(self, name: str) -> None:
        """Waits until a staged release answers and every item has rows of its embedding version."""
        deadline, told = time.monotonic() + FOLLOW_TIMEOUT_S, ""
        while True:
            release = self._status().releases.get(name, pb.ReleaseStatus(state="not followed yet"))
            if release.state == "ready":
                return
            if release.state == "backfill":  # as long as it takes
                deadline = time.monotonic() + FOLLOW_TIMEOUT_S
                if (line := f"backfill {release.items_done} of {release.items_total}") != told:
                    self.tell(line)
                    told = line
            if time.monotonic() > deadline:
                raise ReleaseError(f"release {name} does not answer: {release.state}")
            time.sleep(POLL_S)

    def _until_current(self, name: str) -> None:
        deadline = time.monotonic() + FOLLOW_TIMEOUT_S
        while (answers := self._status().release) != name:
            if time.monotonic() > deadline:
                raise ReleaseError(f"after {FOLLOW_TIMEOUT_S:g} s {answers} still answers, not {name}")
            time.sleep(POLL_S)

    def _take_back(self, name: str) -> None:
        """What ``stage`` did, undone; models last, when nothing asks them."""
        if name in read_state(self.home).staged:
            change_state(self.home, lambda state: changes.taken_out(state, name), f"take back {name}")
        self._unload({name})

    def _unload(self, names: set[str]) -> None:
        for name in sorted(names):
            with contextlib.suppress(NotRunningError):
                self._until(lambda name=name: name not in self._status().releases, f"{name} is out of use")  # type: ignore[misc]
            remove_models(self.home, name)
            self._until(lambda name=name: not self._holds(name), f"the models of {name} are unloaded")  # type: ignore[misc]

    def _holds(self, name: str) -> bool:
        server = read_server(self.home / "run")
        held = (*server.models, *server.staged) if server and server.phase in _SERVING else ()
        return any(model.endswith(SEPARATOR + name) for model in held)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + UNLOAD_TIMEOUT_S
        while not done():
            if time.monotonic() > deadline:
                raise ReleaseError(f"not within {UNLOAD_TIMEOUT_S:g} s: {what}")
            time.sleep(POLL_S)

    def _status(self) -> pb.Status:
        with Client(self.target) as client:
            return client.status(FOLLOW_TIMEOUT_S)

    def _starts(self) -> bool:
        server = read_server(self.home / "run")
        return server is not None and server.phase is Phase.STARTING

    def _server(self) -> ServerState:
        server = read_server(self.home / "run")
        if server is None or server.phase not in _SERVING:
            raise ReleaseError("the embedded Triton does not serve: start it with `sensorium up`")
        return server


_SERVING = (Phase.READY, Phase.DEGRADED)
