-- Items, what was indexed of them, and what is under way. Times of day are not kept: nothing asks for them.
CREATE TABLE IF NOT EXISTS items (
    id          TEXT PRIMARY KEY,
    title       TEXT NOT NULL,
    description TEXT NOT NULL,
    category    TEXT NOT NULL,
    tags        TEXT NOT NULL,            -- JSON list
    price       REAL,
    available   INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS media (
    item_id    TEXT NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    modality   TEXT NOT NULL,
    format     TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    duration_s REAL NOT NULL,
    PRIMARY KEY (item_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS media_by_hash ON media (sha256);

-- Every row of an item that may stand in Milvus: written down before it is sent there, struck out after it has
-- gone. `items` need not have the item yet. `row_id` begins with its embedding version and a slash: an item that
-- is not pending is indexed in exactly the versions of which it has rows.
CREATE TABLE IF NOT EXISTS rows (
    item_id TEXT NOT NULL,
    row_id  TEXT NOT NULL,
    PRIMARY KEY (item_id, row_id)
) STRICT, WITHOUT ROWID;

-- Items that Milvus may not agree with, because a change of them was begun and not ended.
CREATE TABLE IF NOT EXISTS pending (item_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- `open` is there while a process has the store open: found at a start, it tells of a crash.
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
