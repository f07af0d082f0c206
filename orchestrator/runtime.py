"""What belongs to one release: its models, weights and embedding version, bound to the parts that use them.

A search keeps the runtime that it began with to its end, so that no answer is made of two releases.
"""

from __future__ import annotations

from orchestrator.attend import Attender
from orchestrator.cache_keys import setup_of
from orchestrator.calibrate import EmbeddingSet
from orchestrator.common import Common
from orchestrator.cross_attention import CrossAttention
from orchestrator.embed import Embedder
from orchestrator.expand import Expander
from orchestrator.hop import Hopper
from orchestrator.personalise import Personaliser
from orchestrator.ports import Encoder, VectorStore
from orchestrator.refine import Refiner
from orchestrator.rerank import Reranker
from orchestrator.retrieve import Retriever
from orchestrator.row_vectors import RowVectors
from orchestrator.transcribe import Transcriber

__all__ = ["Runtime"]


class Runtime:
    """One release, ready to answer.

    ``release`` is its name, ``digest`` the hash of all it is made of: answers kept by one release are never
    given by another, whatever they have in common. ``encoder`` asks the models of this release; searches ask
    ``searched_by``, the same behind its breakers, if it is given.
    """

    def __init__(
        self,
        release: str,
        digest: str,
        embedding_set: EmbeddingSet,
        encoder: Encoder,
        store: VectorStore,
        common: Common,
        personaliser: Personaliser | None = None,
        searched_by: Encoder | None = None,
    ) -> None:
        settings = common.settings
        asked = searched_by or encoder
        self.release = release
        self.digest = digest
        self.embedding_set = embedding_set
        self.encoder = encoder
        self.searched_by = asked
        self.personaliser = personaliser
        self.searches = 0
        """How many are under way."""
        self.setup = setup_of(settings, embedding_set, release, digest)
        self._store = store
        version = embedding_set.version
        self.embedder = Embedder(
            asked,
            common.cache,
            common.cutter,
            version,
            flight_s=settings.budget.embed_s,
            max_segments=settings.retrieve.max_query_segments,
        )
        self.transcriber = Transcriber(asked, common.items, self.embedder, common.cutter, settings.transcribe)
        self.attender = Attender(asked, embedding_set.attend)
        self.learned = embedding_set.fusion if settings.fusion.learned else {}
        self.retriever = Retriever(
            store,
            embedding_set.calibration,
            version,
            rows_per_search=settings.retrieve.rows_per_search,
            max_candidates=settings.retrieve.max_mixed_candidates,
            learned=self.learned,
            route_at=settings.retrieve.route_at,
        )
        self.refiner = Refiner(
            settings,
            Hopper(store, self.retriever, version, settings.hop),
            Expander(
                store,
                common.items,
                self.embedder,
                self.retriever,
                common.executor,
                version,
                settings.expand,
                vocabulary_size=settings.transcribe.vocabulary_size,
            ),
            CrossAttention(settings.cross_attention),
            Reranker(asked, embedding_set.rerank_for, settings.rerank.pool),
            personaliser,
        )

    def row_vectors(self) -> RowVectors:
        """Vectors of rows for one search."""
        return RowVectors(self._store, self.embedding_set.version)
