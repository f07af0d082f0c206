"""Builds the runtimes of releases on what the orchestrator's process has once."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from pathlib import Path

from orchestrator.calibrate import EmbeddingSet, load_embedding_set
from orchestrator.clients.triton import TritonClient
from orchestrator.common import Common
from orchestrator.errors import ConfigurationError
from orchestrator.guarded import GuardedEncoder, Guards
from orchestrator.lineup import Served
from orchestrator.metrics import Metrics
from orchestrator.personalise import Personaliser
from orchestrator.ports import VectorStore
from orchestrator.runtime import Runtime
from orchestrator.strengths import STRENGTHS_FILE, Strengths, load_strengths, read_strengths
from releases.manifest import files_dir, load
from releases.naming import model_name, transcribes

__all__ = ["RuntimeBuilder"]


class RuntimeBuilder:
    """Runtimes share the channel of ``triton`` and the connection of ``store``. Each has breakers of its own
    before its models, so that those of a canary shut nobody else out."""

    def __init__(self, common: Common, triton: TritonClient, store: VectorStore) -> None:
        self._common = common
        self._triton = triton
        self._store = store
        self._metrics: Metrics | None = None

    def report_to(self, metrics: Metrics, served: Served) -> None:
        """Shows in ``metrics`` the breakers of the release that is current; what they do, all count there."""
        self._metrics = metrics
        for runtime in served.lineup.runtimes.values():
            self._guards(runtime).count_in(metrics)
        self._guards(served.current).show_in(metrics, lambda: self._guards(served.current))

    def _guards(self, runtime: Runtime) -> Guards:
        assert isinstance(runtime.searched_by, GuardedEncoder)
        return runtime.searched_by.guards

    @property
    def own(self) -> str:
        """The name of the repository's own set: its embedding version."""
        return load_embedding_set(self._common.settings.model_repository).version

    async def build(self, name: str | None) -> Runtime:
        """The runtime of a release, or of the repository's own set for None.

        Raises:
            ConfigurationError: a file of it is malformed, or its weights are random and may not answer.
            ReleaseError: there is no such release, or it is not what its hash says.
        """
        settings = self._common.settings
        if name is None:
            repository = settings.model_repository
            embedding_set = self._trained(load_embedding_set(repository), "the model repository")
            digest = hashlib.sha256((repository / "embedding.json").read_bytes()).hexdigest()
            strengths = load_strengths(settings.home, repository)
            return self._runtime(embedding_set.version, digest, embedding_set, self._triton, strengths)
        manifest = await asyncio.to_thread(load, settings.home, name)
        files: Path = files_dir(settings.home, name)
        own = await asyncio.to_thread(transcribes, settings.home, name)
        return self._runtime(
            name,
            manifest.sha256,
            self._trained(load_embedding_set(files), f"release {name}"),
            self._triton.bound(partial(model_name, release=name, transcribing=own)),
            read_strengths(files / STRENGTHS_FILE),
        )

    def _trained(self, embedding_set: EmbeddingSet, what: str) -> EmbeddingSet:
        if embedding_set.random and not self._common.settings.allow_random:
            raise ConfigurationError(
                f"the weights of {what} are random, and what they find means nothing: start with "
                "`sensorium up --allow-random` (SENSORIUM_ALLOW_RANDOM=true) to try the system with them"
            )
        return embedding_set

    def _runtime(
        self,
        name: str,
        digest: str,
        embedding_set: EmbeddingSet,
        encoder: TritonClient,
        strengths: Strengths | None,
    ) -> Runtime:
        common, personaliser = self._common, None
        if strengths is not None:
            personaliser = Personaliser(
                common.feedback,
                common.items,
                self._store,
                embedding_set.version,
                strengths,
                common.settings.personalise,
            )
        guarded = GuardedEncoder(encoder, common.settings)
        if self._metrics is not None:
            guarded.guards.count_in(self._metrics)
        return Runtime(name, digest, embedding_set, encoder, self._store, common, personaliser, guarded)
