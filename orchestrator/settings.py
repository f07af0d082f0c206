"""Settings of the query path: read once from ``SENSORIUM_*``, validated, frozen, passed down.

Groups nest with two underscores: ``SENSORIUM_TRITON__URL=127.0.0.1:8001``. A variable with the prefix that
names no setting fails start-up (``load_settings``); so does a value out of range.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from media import Modality
from media.limits import ENV_PREFIX as MEDIA_PREFIX
from orchestrator.errors import ConfigurationError

__all__ = [
    "ENV_PREFIX",
    "AccessSettings",
    "AdmissionSettings",
    "ApiSettings",
    "BreakerSettings",
    "BudgetSettings",
    "CacheSettings",
    "CrossAttentionSettings",
    "DiversifySettings",
    "ExpandSettings",
    "FeedbackSettings",
    "FusionSettings",
    "HopSettings",
    "LogSettings",
    "MilvusSettings",
    "ModalityAdmission",
    "PersonaliseSettings",
    "RerankSettings",
    "RetrieveSettings",
    "RetrySettings",
    "Settings",
    "TracingSettings",
    "TranscribeSettings",
    "TritonSettings",
    "load_settings",
]

ENV_PREFIX = "SENSORIUM_"
OTHER_PREFIXES = (
    MEDIA_PREFIX,
    "SENSORIUM_CLIENT_",
    "SENSORIUM_INDEXING__",
    "SENSORIUM_SERVING_",
    "SENSORIUM_WRITE_SCREENSHOT",
)
_NESTED = "__"

_MIB = 1024 * 1024

Seconds = Annotated[float, Gt(0), Le(3600)]
Count = Annotated[int, Ge(1)]
Port = Annotated[int, Ge(0), Le(65535)]
"""0 lets the system choose a free one."""
Share = Annotated[float, Ge(0), Le(1)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiSettings(_Group):
    """The two faces: gRPC and REST."""

    host: str = "127.0.0.1"
    grpc_port: Port = 8081
    http_port: Port = 8080
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Host headers that REST accepts, without a port; anything else may be DNS rebinding."""
    max_request_bytes: Count = 64 * _MIB
    max_requests: Count = 192
    """Requests at once of each face, of all kinds; see ``under_way``."""
    max_connections: Count = 1024
    """Of each face, idle ones too. gRPC counts calls in their place: each may hold a body in memory."""
    drain_s: Seconds = 10.0
    """How long requests under way may still take once a stop was asked for."""
    unauthenticated_beyond_loopback: bool = False
    """Without keys or tokens, a ``host`` that is not loopback is refused unless this is set."""
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    """With both, both faces speak TLS 1.2 or later and nothing else."""
    tls_client_ca_file: Path | None = None
    """With it, only clients whose certificate this authority signed are let in."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file are set together")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file needs tls_certificate_file and tls_key_file")
        return self


class AccessSettings(_Group):
    """Who may call what (``orchestrator/access/``). Without keys and tokens everybody may everything."""

    keys_file: Path | None = None
    """Of ``sensorium keys``; read again when it changes."""
    jwt_jwks_file: Path | None = None
    """The public keys (or, for HS256, the secret ones) of those who may sign tokens; read again, too."""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    per_minute: Count = 1200
    """Requests of a key that says nothing of its own, and of each token's subject."""
    failures_per_minute: Count = 60
    """Refusals of one address that are answered and logged as such; those beyond are told to wait."""
    audit_file: Path | None = None
    """Without it, the audit goes to standard error beside the log."""

    @property
    def enabled(self) -> bool:
        """Whether a credential is asked for."""
        return self.keys_file is not None or self.jwt_jwks_file is not None

    @model_validator(mode="after")
    def _tokens_are_for_us(self) -> Self:
        if self.jwt_jwks_file is not None and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("jwt_jwks_file needs jwt_issuer and jwt_audience")
        return self


class ModalityAdmission(_Group):
    """What is let in of the queries whose dearest part is of one modality."""

    max_concurrent: Count
    max_waiting: Annotated[int, Ge(0)]
    cost: Annotated[float, Ge(1), Le(100)]
    """What one part counts for in fair shares, in texts; about its processor time beside a text's."""


class AdmissionSettings(_Group):
    """What is let in (``orchestrator/gate.py``). The bounds of a modality hold beside those of the whole."""

    max_parts: Count = 8
    max_results: Count = 100
    max_offset: Count = 1000
    max_classifying: Count = 64
    """Requests whose content is being looked at, before it is known what they are."""
    max_concurrent: Count = 6
    """Three for each of two cores: more make every search late and none sooner (docs/performance.md)."""
    max_waiting: Annotated[int, Ge(0)] = 64
    max_wait_s: Seconds = 0.5
    """Who has waited that long, or is expected to, is turned away."""
    batch_share: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Of the work begun while both wait, what requests of priority BATCH get at least."""
    text: ModalityAdmission = ModalityAdmission(max_concurrent=32, max_waiting=64, cost=1)
    image: ModalityAdmission = ModalityAdmission(max_concurrent=16, max_waiting=32, cost=2)
    audio: ModalityAdmission = ModalityAdmission(max_concurrent=8, max_waiting=16, cost=8)
    video: ModalityAdmission = ModalityAdmission(max_concurrent=8, max_waiting=16, cost=8)


class BudgetSettings(_Group):
    """How long a request, and each stage of it, may take at most."""

    request_s: Seconds = 15.0
    classify_s: Seconds = 2.0
    embed_s: Seconds = 10.0
    transcribe_s: Seconds = 5.0
    compose_s: Seconds = 0.5
    retrieve_s: Seconds = 4.0
    hop_s: Seconds = 1.0
    expand_s: Seconds = 1.0
    personalise_s: Seconds = 0.5
    cross_attention_s: Seconds = 0.5
    rerank_s: Seconds = 0.5
    diversify_s: Seconds = 1.0
    answer_s: Seconds = 2.0
    record_s: Seconds = 0.5


class TritonSettings(_Group):
    """The inference server, over gRPC (KServe v2)."""

    url: str = "127.0.0.1:8001"
    max_message_bytes: Count = 64 * _MIB


class MilvusSettings(_Group):
    """The vector database. Without ``uri`` it is Milvus Lite below ``home``."""

    uri: str | None = None
    parameters: Literal["lite", "standalone", "cluster"] = "lite"
    """Which file of ``milvus/`` gives the index parameters."""


class CacheSettings(_Group):
    """Embeddings in front of Triton, and whole answers in front of everything. 0 bytes switch either off."""

    max_bytes: Annotated[int, Ge(0)] = 64 * _MIB
    ttl_s: Seconds = 3600.0
    answers_max_bytes: Annotated[int, Ge(0)] = 32 * _MIB
    answers_ttl_s: Seconds = 300.0
    redis_url: str | None = None
    """Of a Redis that keeps both for several processes; without it each keeps its own."""
    redis_timeout_s: Annotated[float, Gt(0), Le(1)] = 0.05


class BreakerSettings(_Group):
    """When Triton or Milvus is left alone, by call (``orchestrator/breaker.py``)."""

    failures: Count = 5
    """In a row."""
    slow_s: Seconds = 1.0
    """A call that was given up after so long has failed; where its stage's budget is short, sooner."""
    open_s: Seconds = 0.5
    max_open_s: Seconds = 4.0
    """How long it is left alone at first, and, after twice as long each time, at most; give or take a
    quarter."""
    probe_s: Seconds = 3.0
    """How long the one call may take that finds out whether it answers again."""

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if self.max_open_s < self.open_s:
            raise ValueError("max_open_s may not be less than open_s")
        return self


class RetrySettings(_Group):
    """One more try of a read whose server cannot be reached (``orchestrator/retry.py``)."""

    share: Share = 0.1
    """Of the calls, how many may be such tries; 0 switches them off once what is saved is spent."""
    saved: Annotated[int, Ge(0), Le(1000)] = 10
    """How many tries calls that went well may save up for later."""
    pause_s: Seconds = 0.05
    """Before the other try, give or take a half."""


class RetrieveSettings(_Group):
    """How deep each search goes; the candidates of a query are bounded by it."""

    rows_per_search: Annotated[int, Ge(1), Le(1000)] = 100
    max_mixed_candidates: Annotated[int, Ge(1), Le(500)] = 100
    """How many items found for a query of several parts are measured against every part."""
    route_at: Share = 1.0
    """A query whose own modality has a row so probable searches no other modality. 1: never (ADR 24)."""
    max_query_segments: Count = 32
    """A long query sound or video is cut into at most so many; what lies behind them is not searched."""


class TranscribeSettings(_Group):
    """Speech queries."""

    vocabulary_size: Annotated[int, Ge(0)] = 1000
    min_confidence: Share = 0.2
    """Mean probability of a token below which a transcript is not searched."""


class HopSettings(_Group):
    """Text to picture to clip. Off: it did not help on validation queries (docs/relevance.md)."""

    enabled: bool = False
    thresholds: tuple[Share, Share, Share] = (0.65, 0.55, 0.45)
    """Calibrated scores that a picture, a clip, and what a clip leads to must reach; they may not rise."""
    width: Annotated[int, Ge(1), Le(20)] = 3
    """Rows followed from each step."""
    trust: Share = 0.5

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if list(self.thresholds) != sorted(self.thresholds, reverse=True):
            raise ValueError("thresholds may not rise")
        return self


class ExpandSettings(_Group):
    """Other words for a text that found little. Off: it did not help (docs/relevance.md)."""

    enabled: bool = False
    below: Share = 0.5
    """The best fused score under which a query counts as having found little."""
    feedback_items: Annotated[int, Ge(1), Le(20)] = 3
    """The best items whose descriptions are asked."""
    trust: Share = 0.5


class CrossAttentionSettings(_Group):
    """Attention over the rows of the first ``pool`` candidates. It costs compositions (docs/relevance.md)."""

    default_for: tuple[str, ...] = ()
    """What queries are made of, as in ("image+text",): modalities in the order of the alphabet."""
    pool: Annotated[int, Ge(2), Le(200)] = 50
    temperature: Annotated[float, Ge(1e-3), Le(100)] = 0.2
    gain: Annotated[float, Gt(0), Le(100)] = 16.0
    """By how much log-odds move for a similarity that is 1 greater."""

    @model_validator(mode="after")
    def _made_of_modalities(self) -> Self:
        for kind in self.default_for:
            parts = kind.split("+")
            if parts != sorted(set(parts)) or not set(parts) <= set(Modality):
                raise ValueError(f"{kind!r} is no modality, nor several as in 'image+text'")
        return self


class FusionSettings(_Group):
    """How the evidence for an item is joined."""

    learned: bool = True
    """By the weights of ``embedding.json``, where it has some; else by noisy-or."""


class RerankSettings(_Group):
    """The cross-modal re-ranker over the first ``pool`` candidates; the others stay behind them."""

    pool: Annotated[int, Ge(2), Le(200)] = 50


class DiversifySettings(_Group):
    """MMR over the first ``pool`` candidates that score at least ``min_share`` of the best one's score.

    What is much less relevant than the best would come in as diversity alone; it stays behind.
    """

    mmr_lambda: Share = 0.5
    pool: Annotated[int, Ge(1), Le(500)] = 50
    min_share: Share = 0.5


class FeedbackSettings(_Group):
    """What is kept of what was shown to users, and of what they did with it."""

    retention_days: Annotated[float, Gt(0), Le(3650)] = 90.0
    max_requests: Count = 100_000


class PersonaliseSettings(_Group):
    """What a user's feedback may do to the order."""

    half_life_days: Annotated[float, Gt(0), Le(3650)] = 30.0
    """After so long, feedback counts half."""
    max_log_odds: Annotated[float, Gt(0), Le(5)] = 1.0
    """The most it may move an item, either way: what is ahead by twice as much stays ahead."""
    pool: Annotated[int, Ge(1), Le(500)] = 50


class LogSettings(_Group):
    """JSON lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class TracingSettings(_Group):
    """OpenTelemetry spans, for a collector that takes OTLP over gRPC."""

    endpoint: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """As in http://collector:4317. None: no spans."""
    sample_ratio: Share = 0.01
    """Of the requests whose caller did not decide."""


class Settings(BaseSettings):
    """Everything the orchestrator can be told. Built by ``load_settings``; tests build it directly."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED, frozen=True, extra="forbid", case_sensitive=False
    )

    home: Path = Path(".sensorium")
    model_repository: Path = Path("model_repository")
    allow_random: bool = False
    """Whether weights that were never trained may answer (`sensorium up --allow-random`)."""
    api: ApiSettings = ApiSettings()
    access: AccessSettings = AccessSettings()
    admission: AdmissionSettings = AdmissionSettings()
    budget: BudgetSettings = BudgetSettings()
    triton: TritonSettings = TritonSettings()
    milvus: MilvusSettings = MilvusSettings()
    cache: CacheSettings = CacheSettings()
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    retrieve: RetrieveSettings = RetrieveSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    fusion: FusionSettings = FusionSettings()
    hop: HopSettings = HopSettings()
    expand: ExpandSettings = ExpandSettings()
    cross_attention: CrossAttentionSettings = CrossAttentionSettings()
    rerank: RerankSettings = RerankSettings()
    diversify: DiversifySettings = DiversifySettings()
    feedback: FeedbackSettings = FeedbackSettings()
    personalise: PersonaliseSettings = PersonaliseSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the process's environment, checked for names that nothing reads.

    ``environ`` is what is checked for unknown names (default ``os.environ``). Names that begin as
    ``OTHER_PREFIXES`` belong to other rooms, which check them.

    Raises:
        ConfigurationError: an unknown setting, or a value that does not fit; the message names the variable.
    """
    environ = os.environ if environ is None else environ
    known = {name.upper() for name in Settings.model_fields}
    for variable in map(str.upper, environ):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(OTHER_PREFIXES):
            continue
        if variable.removeprefix(ENV_PREFIX).split(_NESTED, 1)[0] not in known:
            raise ConfigurationError(f"unknown setting {variable}")
    try:
        return Settings()
    except ValidationError as error:
        # Pydantic's own text repeats the value, which may be a secret: only places and reasons go out.
        problems = "; ".join(
            f"{ENV_PREFIX}{_NESTED.join(str(step).upper() for step in e['loc'])}: {e['msg']}"
            for e in error.errors()
        )
        raise ConfigurationError(f"settings do not fit: {problems}") from error
