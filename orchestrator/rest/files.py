"""Stored media and their thumbnails, served so that no file can act as a page of this origin.

The content type is the one found from the content when it was stored, never one that was claimed, and
sniffing is off. Scripts in a file would run in a sandbox with an origin of its own, and an SVG is only ever
downloaded. Paths are made from hashes that the server computed itself.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from cachetools import LRUCache
from starlette.responses import FileResponse, Response

from media import Kind, Limits, MediaError, Modality, kind_of, thumbnail
from orchestrator.errors import DeadlineError, NotFoundError
from orchestrator.ports import ItemStore
from orchestrator.types import CatalogueItem, MediaInfo

__all__ = ["Files"]

_HEADERS = {"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache"}
_THUMBNAIL_CACHE_BYTES = 32 * 1024 * 1024
_THUMBNAIL_S = 10.0
_PREFERRED = (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)


class Files:
    """Thumbnails are made when first asked for, in two threads, and kept, up to a bound.

    ``close`` it at the end.
    """

    def __init__(self, items: ItemStore, limits: Limits) -> None:
        self._items = items
        self._limits = limits
        self._executor = ThreadPoolExecutor(2, "thumbnail")
        self._thumbnails: LRUCache[str, bytes] = LRUCache(_THUMBNAIL_CACHE_BYTES, getsizeof=len)

    def media(self, item: CatalogueItem, index: int, if_none_match: str) -> Response:
        """The bytes of one media file, with ranges.

        Raises:
            NotFoundError: the item has no such media.
        """
        if not 0 <= index < len(item.media):
            raise NotFoundError("the item has no such media")
        media = item.media[index]
        kind = _kind(media)
        headers = {**_HEADERS, "etag": f'"{media.sha256}"'}
        if headers["etag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        path = self._items.blob_path(media.sha256)
        if not path.is_file():
            raise NotFoundError("the stored file is gone")
        if kind.format == "svg":
            headers["content-disposition"] = f'attachment; filename="{media.sha256[:16]}.svg"'
        return FileResponse(path, headers=headers, media_type=kind.mime)

    async def thumbnail(self, item: CatalogueItem, if_none_match: str) -> Response:
        """A WebP of the item's first picture, else of a video, else of a sound.

        Raises:
            NotFoundError: the item has nothing to show.
            DeadlineError: it took too long to make.
        """
        shown = next((m for modality in _PREFERRED for m in item.media if m.modality is modality), None)
        if shown is None:
            raise NotFoundError("the item has no media")
        headers = {**_HEADERS, "etag": f'"t-{shown.sha256}"'}
        if headers["etag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        picture = self._thumbnails.get(shown.sha256)
        if picture is None:
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(_THUMBNAIL_S):
                    picture = await loop.run_in_executor(self._executor, self._make, shown)
            except TimeoutError as error:
                raise DeadlineError("the thumbnail took too long to make") from error
            if len(picture) <= _THUMBNAIL_CACHE_BYTES:
                self._thumbnails[shown.sha256] = picture
        return Response(picture, headers=headers, media_type="image/webp")

    def _make(self, media: MediaInfo) -> bytes:
        try:
            data = self._items.blob_path(media.sha256).read_bytes()
            return thumbnail(data, _kind(media), self._limits)
        except (OSError, MediaError) as error:
            raise NotFoundError("the stored file cannot be shown") from error

    def close(self) -> None:
        """Drops what was not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _kind(media: MediaInfo) -> Kind:
    try:
        return kind_of(media.modality, media.format)
    except KeyError as error:
        raise NotFoundError("the stored file is of a kind that is not served any more") from error
