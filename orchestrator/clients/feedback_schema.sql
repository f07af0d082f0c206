-- What was shown to whom, and what they did with it. Only searches that name a user stand here.
CREATE TABLE IF NOT EXISTS impressions (
    request_id TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    at_s       REAL NOT NULL,               -- seconds of the epoch
    query      TEXT NOT NULL                -- hash of the embeddings of the query's parts
) STRICT;
CREATE INDEX IF NOT EXISTS impressions_by_user ON impressions (user, at_s);
CREATE INDEX IF NOT EXISTS impressions_by_age ON impressions (at_s);

CREATE TABLE IF NOT EXISTS shown (
    request_id TEXT NOT NULL REFERENCES impressions (request_id) ON DELETE CASCADE,
    item_id    TEXT NOT NULL,
    position   INTEGER NOT NULL,            -- from 1
    score      REAL NOT NULL,
    base       REAL NOT NULL,               -- the score before personalisation
    evidence   TEXT NOT NULL,               -- JSON: pair of modalities -> share
    features   TEXT NOT NULL,               -- JSON: feature of the user's profile -> value
    PRIMARY KEY (request_id, item_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS events (
    request_id TEXT NOT NULL,
    item_id    TEXT NOT NULL,
    kind       TEXT NOT NULL,               -- click, dwell, add, dismiss
    position   INTEGER NOT NULL,
    dwell_ms   REAL NOT NULL,
    at_s       REAL NOT NULL,
    PRIMARY KEY (request_id, item_id, kind),
    FOREIGN KEY (request_id, item_id) REFERENCES shown (request_id, item_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
