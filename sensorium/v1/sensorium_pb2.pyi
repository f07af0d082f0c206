from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    TEXT: _ClassVar[Modality]
    IMAGE: _ClassVar[Modality]
    AUDIO: _ClassVar[Modality]
    VIDEO: _ClassVar[Modality]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    INTERACTIVE: _ClassVar[Priority]
    BATCH: _ClassVar[Priority]
MODALITY_UNSPECIFIED: Modality
TEXT: Modality
IMAGE: Modality
AUDIO: Modality
VIDEO: Modality
PRIORITY_UNSPECIFIED: Priority
INTERACTIVE: Priority
BATCH: Priority

class QueryPart(_message.Message):
    __slots__ = ("text", "data", "weight")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    text: str
    data: bytes
    weight: float
    def __init__(self, text: _Optional[str] = ..., data: _Optional[bytes] = ..., weight: _Optional[float] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("parts", "filter", "target_modalities", "limit", "offset", "min_score", "mmr_lambda", "user", "options", "priority")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TARGET_MODALITIES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MMR_LAMBDA_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[QueryPart]
    filter: Filter
    target_modalities: _containers.RepeatedScalarFieldContainer[Modality]
    limit: int
    offset: int
    min_score: float
    mmr_lambda: float
    user: str
    options: SearchOptions
    priority: Priority
    def __init__(self, parts: _Optional[_Iterable[_Union[QueryPart, _Mapping]]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., target_modalities: _Optional[_Iterable[_Union[Modality, str]]] = ..., limit: _Optional[int] = ..., offset: _Optional[int] = ..., min_score: _Optional[float] = ..., mmr_lambda: _Optional[float] = ..., user: _Optional[str] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ...) -> None: ...

class SearchOptions(_message.Message):
    __slots__ = ("rerank", "attend", "expand", "multi_hop", "personalise", "cross_attention", "cache")
    RERANK_FIELD_NUMBER: _ClassVar[int]
    ATTEND_FIELD_NUMBER: _ClassVar[int]
    EXPAND_FIELD_NUMBER: _ClassVar[int]
    MULTI_HOP_FIELD_NUMBER: _ClassVar[int]
    PERSONALISE_FIELD_NUMBER: _ClassVar[int]
    CROSS_ATTENTION_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    rerank: bool
    attend: bool
    expand: bool
    multi_hop: bool
    personalise: bool
    cross_attention: bool
    cache: bool
    def __init__(self, rerank: _Optional[bool] = ..., attend: _Optional[bool] = ..., expand: _Optional[bool] = ..., multi_hop: _Optional[bool] = ..., personalise: _Optional[bool] = ..., cross_attention: _Optional[bool] = ..., cache: _Optional[bool] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("price", "category", "tags_any", "tags_all", "available")
    AND_FIELD_NUMBER: _ClassVar[int]
    OR_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TAGS_ANY_FIELD_NUMBER: _ClassVar[int]
    TAGS_ALL_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    price: Range
    category: StringList
    tags_any: StringList
    tags_all: StringList
    available: bool
    def __init__(self, price: _Optional[_Union[Range, _Mapping]] = ..., category: _Optional[_Union[StringList, _Mapping]] = ..., tags_any: _Optional[_Union[StringList, _Mapping]] = ..., tags_all: _Optional[_Union[StringList, _Mapping]] = ..., available: _Optional[bool] = ..., **kwargs) -> None: ...

class FilterList(_message.Message):
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[Filter]
    def __init__(self, filters: _Optional[_Iterable[_Union[Filter, _Mapping]]] = ...) -> None: ...

class StringList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "candidates", "parts", "stages", "total_ms", "degraded", "embedding_version", "request_id", "cached", "release")
    HITS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    candidates: int
    parts: _containers.RepeatedCompositeFieldContainer[PartInfo]
    stages: _containers.RepeatedCompositeFieldContainer[StageTime]
    total_ms: float
    degraded: _containers.RepeatedScalarFieldContainer[str]
    embedding_version: str
    request_id: str
    cached: bool
    release: str
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., candidates: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[PartInfo, _Mapping]]] = ..., stages: _Optional[_Iterable[_Union[StageTime, _Mapping]]] = ..., total_ms: _Optional[float] = ..., degraded: _Optional[_Iterable[str]] = ..., embedding_version: _Optional[str] = ..., request_id: _Optional[str] = ..., cached: _Optional[bool] = ..., release: _Optional[str] = ...) -> None: ...

class PartInfo(_message.Message):
    __slots__ = ("modality", "format", "transcript", "cached")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    modality: Modality
    format: str
    transcript: str
    cached: bool
    def __init__(self, modality: _Optional[_Union[Modality, str]] = ..., format: _Optional[str] = ..., transcript: _Optional[str] = ..., cached: _Optional[bool] = ...) -> None: ...

class StageTime(_message.Message):
    __slots__ = ("stage", "ms")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    ms: float
    def __init__(self, stage: _Optional[str] = ..., ms: _Optional[float] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("item", "score", "signals", "moment", "influences")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    INFLUENCES_FIELD_NUMBER: _ClassVar[int]
    item: Item
    score: float
    signals: _containers.RepeatedCompositeFieldContainer[Signal]
    moment: Moment
    influences: _containers.RepeatedCompositeFieldContainer[Influence]
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., score: _Optional[float] = ..., signals: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ..., moment: _Optional[_Union[Moment, _Mapping]] = ..., influences: _Optional[_Iterable[_Union[Influence, _Mapping]]] = ...) -> None: ...

class Influence(_message.Message):
    __slots__ = ("stage", "detail", "change")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    stage: str
    detail: str
    change: float
    def __init__(self, stage: _Optional[str] = ..., detail: _Optional[str] = ..., change: _Optional[float] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("query_modality", "item_modality", "space", "similarity", "score", "weight", "part")
    QUERY_MODALITY_FIELD_NUMBER: _ClassVar[int]
    ITEM_MODALITY_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    query_modality: Modality
    item_modality: Modality
    space: str
    similarity: float
    score: float
    weight: float
    part: int
    def __init__(self, query_modality: _Optional[_Union[Modality, str]] = ..., item_modality: _Optional[_Union[Modality, str]] = ..., space: _Optional[str] = ..., similarity: _Optional[float] = ..., score: _Optional[float] = ..., weight: _Optional[float] = ..., part: _Optional[int] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("modality", "media_index", "start_s", "end_s")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    MEDIA_INDEX_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    modality: Modality
    media_index: int
    start_s: float
    end_s: float
    def __init__(self, modality: _Optional[_Union[Modality, str]] = ..., media_index: _Optional[int] = ..., start_s: _Optional[float] = ..., end_s: _Optional[float] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "title", "description", "category", "tags", "price", "available", "media")
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    description: str
    category: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    price: float
    available: bool
    media: _containers.RepeatedCompositeFieldContainer[Media]
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., category: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., price: _Optional[float] = ..., available: _Optional[bool] = ..., media: _Optional[_Iterable[_Union[Media, _Mapping]]] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("data", "modality", "format", "sha256", "duration_s")
    DATA_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    modality: Modality
    format: str
    sha256: str
    duration_s: float
    def __init__(self, data: _Optional[bytes] = ..., modality: _Optional[_Union[Modality, str]] = ..., format: _Optional[str] = ..., sha256: _Optional[str] = ..., duration_s: _Optional[float] = ...) -> None: ...

class UpsertResult(_message.Message):
    __slots__ = ("id", "outcome", "rows", "error")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[UpsertResult.Outcome]
        INDEXED: _ClassVar[UpsertResult.Outcome]
        UNCHANGED: _ClassVar[UpsertResult.Outcome]
        REFUSED: _ClassVar[UpsertResult.Outcome]
    OUTCOME_UNSPECIFIED: UpsertResult.Outcome
    INDEXED: UpsertResult.Outcome
    UNCHANGED: UpsertResult.Outcome
    REFUSED: UpsertResult.Outcome
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: UpsertResult.Outcome
    rows: int
    error: Error
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[_Union[UpsertResult.Outcome, str]] = ..., rows: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted", "unknown")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    unknown: int
    def __init__(self, deleted: _Optional[int] = ..., unknown: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class FeedbackRequest(_message.Message):
    __slots__ = ("user", "events")
    USER_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    user: str
    events: _containers.RepeatedCompositeFieldContainer[FeedbackEvent]
    def __init__(self, user: _Optional[str] = ..., events: _Optional[_Iterable[_Union[FeedbackEvent, _Mapping]]] = ...) -> None: ...

class FeedbackEvent(_message.Message):
    __slots__ = ("request_id", "item_id", "kind", "position", "dwell_ms")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[FeedbackEvent.Kind]
        CLICK: _ClassVar[FeedbackEvent.Kind]
        DWELL: _ClassVar[FeedbackEvent.Kind]
        ADD: _ClassVar[FeedbackEvent.Kind]
        DISMISS: _ClassVar[FeedbackEvent.Kind]
    KIND_UNSPECIFIED: FeedbackEvent.Kind
    CLICK: FeedbackEvent.Kind
    DWELL: FeedbackEvent.Kind
    ADD: FeedbackEvent.Kind
    DISMISS: FeedbackEvent.Kind
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DWELL_MS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    item_id: str
    kind: FeedbackEvent.Kind
    position: int
    dwell_ms: float
    def __init__(self, request_id: _Optional[str] = ..., item_id: _Optional[str] = ..., kind: _Optional[_Union[FeedbackEvent.Kind, str]] = ..., position: _Optional[int] = ..., dwell_ms: _Optional[float] = ...) -> None: ...

class FeedbackResponse(_message.Message):
    __slots__ = ("stored", "known", "unknown")
    STORED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    stored: int
    known: int
    unknown: int
    def __init__(self, stored: _Optional[int] = ..., known: _Optional[int] = ..., unknown: _Optional[int] = ...) -> None: ...

class EraseUserRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class EraseUserResponse(_message.Message):
    __slots__ = ("requests", "events")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    requests: int
    events: int
    def __init__(self, requests: _Optional[int] = ..., events: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("version", "profile", "embedding_version", "items", "rows", "dependencies", "models", "release", "releases")
    class RowsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class DependenciesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ReleasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ReleaseStatus
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ReleaseStatus, _Mapping]] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    version: str
    profile: str
    embedding_version: str
    items: int
    rows: _containers.ScalarMap[str, int]
    dependencies: _containers.ScalarMap[str, str]
    models: _containers.ScalarMap[str, str]
    release: str
    releases: _containers.MessageMap[str, ReleaseStatus]
    def __init__(self, version: _Optional[str] = ..., profile: _Optional[str] = ..., embedding_version: _Optional[str] = ..., items: _Optional[int] = ..., rows: _Optional[_Mapping[str, int]] = ..., dependencies: _Optional[_Mapping[str, str]] = ..., models: _Optional[_Mapping[str, str]] = ..., release: _Optional[str] = ..., releases: _Optional[_Mapping[str, ReleaseStatus]] = ...) -> None: ...

class ReleaseStatus(_message.Message):
    __slots__ = ("role", "embedding_version", "state", "items_done", "items_total", "percent", "comparisons")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_DONE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    role: str
    embedding_version: str
    state: str
    items_done: int
    items_total: int
    percent: float
    comparisons: _containers.RepeatedCompositeFieldContainer[CanaryComparison]
    def __init__(self, role: _Optional[str] = ..., embedding_version: _Optional[str] = ..., state: _Optional[str] = ..., items_done: _Optional[int] = ..., items_total: _Optional[int] = ..., percent: _Optional[float] = ..., comparisons: _Optional[_Iterable[_Union[CanaryComparison, _Mapping]]] = ...) -> None: ...

class CanaryComparison(_message.Message):
    __slots__ = ("modality", "current", "canary", "breaches")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    BREACHES_FIELD_NUMBER: _ClassVar[int]
    modality: str
    current: ReleaseFigures
    canary: ReleaseFigures
    breaches: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, modality: _Optional[str] = ..., current: _Optional[_Union[ReleaseFigures, _Mapping]] = ..., canary: _Optional[_Union[ReleaseFigures, _Mapping]] = ..., breaches: _Optional[_Iterable[str]] = ...) -> None: ...

class ReleaseFigures(_message.Message):
    __slots__ = ("requests", "error_rate", "p50_ms", "p95_ms", "median_score")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    requests: int
    error_rate: float
    p50_ms: float
    p95_ms: float
    median_score: float
    def __init__(self, requests: _Optional[int] = ..., error_rate: _Optional[float] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., median_score: _Optional[float] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "part", "kind", "limit")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    part: int
    kind: str
    limit: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., part: _Optional[int] = ..., kind: _Optional[str] = ..., limit: _Optional[str] = ...) -> None: ...
