"""From an item of a manifest to the message of the API."""

from __future__ import annotations

from catalogue.errors import MediaFileError
from catalogue.manifest import ManifestItem, MediaEntry
from sensorium.v1 import sensorium_pb2

__all__ = ["MAX_MEDIA_BYTES", "to_proto"]

MAX_MEDIA_BYTES = 64 << 20


def to_proto(item: ManifestItem, max_media_bytes: int = MAX_MEDIA_BYTES) -> sensorium_pb2.Item:
    """`sensorium.v1.Item` with the bytes of its media, which are read here and not before.

    Raises MediaFileError when a file has gone or is larger than `max_media_bytes`. What the server accepts is
    the server's to say; this bound only keeps one bad path from filling memory.
    """
    message = sensorium_pb2.Item(
        id=item.id,
        title=item.title,
        description=item.description,
        category=item.category,
        tags=item.tags,
        media=[
            sensorium_pb2.Media(data=_content(item.id, index, entry, max_media_bytes))
            for index, entry in enumerate(item.media)
        ],
    )
    if item.price is not None:
        message.price = item.price
    if item.available is not None:
        message.available = item.available
    return message


def _content(item_id: str, index: int, entry: MediaEntry, max_bytes: int) -> bytes:
    if entry.path is None:
        return (entry.text or "").encode()
    try:
        with entry.path.open("rb") as handle:
            content = handle.read(max_bytes + 1)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise MediaFileError(item_id, index, entry.path.name, reason) from error
    if len(content) > max_bytes:
        raise MediaFileError(item_id, index, entry.path.name, f"is larger than {max_bytes} bytes")
    return content
