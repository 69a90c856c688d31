-- What eight groups of supplied texts hold, in one filter (prynt_relay.store.bucket_filters). Groups
-- that are there already are asked one by one until they are older than the dedup window.
CREATE TABLE supplied_keys_summaries (
    id INTEGER PRIMARY KEY,
    covered INTEGER NOT NULL,
    summary BLOB NOT NULL
) STRICT;
CREATE TABLE supplied_ids_summaries (
    id INTEGER PRIMARY KEY,
    covered INTEGER NOT NULL,
    summary BLOB NOT NULL
) STRICT;
