"""Raw content -> embeddings -> rows in Milvus and items in the store, so that nothing is lost or doubled.

Each change of an item goes through the same steps; whatever happens between two of them is put right later::

    note it in the item store -> write the new rows -> delete the stale rows -> commit the item

An item is searchable, and stored for good, when it is answered.
"""

from indexing.backfill import Progress
from indexing.indexer import Indexer
from indexing.maintenance import Maintenance
from indexing.settings import IndexingSettings
from indexing.targets import Target, Targets
from indexing.versions import EmbeddingVersions

__all__ = ["EmbeddingVersions", "Indexer", "IndexingSettings", "Maintenance", "Progress", "Target", "Targets"]
