-- Times are milliseconds since 1970; *_ms columns named next_, resume_ and failing_from_ run on the
-- schedule's clock, all others on the wall's. Enumerations are the numbers of prynt_relay.model.states.

-- One row: what must survive a restart and belongs to no other table.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- Numbers given out so far, so that a purge of the newest rows never makes one come back.
    last_event_row INTEGER NOT NULL DEFAULT 0,
    last_delivery_row INTEGER NOT NULL DEFAULT 0,
    last_attempt_row INTEGER NOT NULL DEFAULT 0,
    -- The schedule's clock when the daemon was last seen running.
    alive_schedule_ms INTEGER NOT NULL DEFAULT 0,
    -- Up to which attempt the rollups count.
    rolled_up_attempt_row INTEGER NOT NULL DEFAULT 0,
    rolled_up_event_row INTEGER NOT NULL DEFAULT 0,
    -- Keys the hashes of what publishers supply, so that no one can aim at a collision.
    hash_seed BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;

-- What an event took from the configuration when it came in.
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    api_version TEXT NOT NULL,
    event_source TEXT NOT NULL,
    UNIQUE (api_version, event_source)
) STRICT;

CREATE TABLE event_types (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    event_type INTEGER NOT NULL,
    context INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    -- NULL: the same as received_at_ms.
    created_at_ms INTEGER,
    -- NULL: computed from the row's number (prynt_relay.model.ids).
    event_id TEXT,
    idempotency_key TEXT,
    -- An event's deliveries have consecutive numbers, so they need no index. Without any this is
    -- where the next event's begin: it never falls from one event to the next.
    first_delivery INTEGER NOT NULL,
    delivery_count INTEGER NOT NULL DEFAULT 0,
    -- 1 while a large fan-out is still being written; such an event isn't acknowledged yet.
    fanout_pending INTEGER NOT NULL DEFAULT 0,
    -- 1 for a sample that an operator sent with "test".
    is_test INTEGER NOT NULL DEFAULT 0,
    data BLOB NOT NULL
) STRICT;
-- Wider than time alone, so that the event log's filter by type reads nothing but the index.
CREATE INDEX events_by_time ON events (received_at_ms, id, event_type);
CREATE INDEX events_fanout_pending ON events (fanout_pending) WHERE fanout_pending = 1;

-- What is left to write of a large fan-out: its targets, as packed by prynt_relay.store.fanout.
CREATE TABLE fanouts (
    event INTEGER PRIMARY KEY,
    due_ms INTEGER NOT NULL,
    targets BLOB NOT NULL
) STRICT;

-- Hashes of what publishers supplied (prynt_relay.store.supplied). A bucket takes the next few
-- thousand, so that random keys are written to a few pages however many there are.
CREATE TABLE supplied_keys (
    bucket INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (bucket, hash, event)
) STRICT, WITHOUT ROWID;
CREATE TABLE supplied_keys_filters (
    id INTEGER PRIMARY KEY,
    filter BLOB NOT NULL
) STRICT;
CREATE TABLE supplied_ids (
    bucket INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (bucket, hash, event)
) STRICT, WITHOUT ROWID;
CREATE TABLE supplied_ids_filters (
    id INTEGER PRIMARY KEY,
    filter BLOB NOT NULL
) STRICT;

-- Numbers that no event may get: its computed id or key would be one that a publisher supplied.
CREATE TABLE reserved_rows (
    row INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    events TEXT NOT NULL,              -- JSON array
    description TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    disabled_reason TEXT,
    disabled_at_ms INTEGER,
    format INTEGER NOT NULL,
    signatures TEXT NOT NULL,          -- JSON array of numbers
    timeout_s REAL,
    retry_schedule_s TEXT,             -- JSON array
    filter TEXT,
    -- JSON of secrets, basic authentication and custom headers; encrypted where secrets_key is set.
    secrets BLOB NOT NULL,
    secrets_key TEXT,
    failing_since_ms INTEGER,
    failing_from_ms INTEGER,
    excused_ms INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0,
    proven INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;

-- How a webhook's requests looked at the time: URL, static headers with values masked, schemes.
CREATE TABLE webhook_revisions (
    id INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL,
    template TEXT NOT NULL,
    UNIQUE (webhook, template)
) STRICT;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL,
    event INTEGER NOT NULL,
    event_type INTEGER NOT NULL,
    state INTEGER NOT NULL,
    format INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,    -- the event's received_at_ms
    next_attempt_ms INTEGER,           -- set exactly while scheduled
    resume_ms INTEGER,                 -- where the schedule goes on after a failed manual attempt
    manual INTEGER NOT NULL DEFAULT 0, -- 1: the next attempt was asked for by a person
    failures INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_attempt INTEGER,              -- attempts are a list linked from the newest back
    last_outcome INTEGER,
    last_status INTEGER
) STRICT;
CREATE INDEX deliveries_due ON deliveries (webhook, next_attempt_ms) WHERE next_attempt_ms IS NOT NULL;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook);
-- Wide enough that counting a window for a retry reads nothing but the index.
CREATE INDEX deliveries_failed ON deliveries (webhook, id, created_at_ms, state) WHERE state = 2;
CREATE INDEX deliveries_held ON deliveries (webhook, id, created_at_ms, state) WHERE state = 3;
CREATE INDEX deliveries_cancelled ON deliveries (webhook) WHERE state = 4;
-- The log over all webhooks by state. Nothing for 0 and 1: what goes well pays for no index.
CREATE INDEX deliveries_by_state ON deliveries (state) WHERE state >= 2;

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,            -- in the order of settling: what a stream resumes from
    delivery INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    previous INTEGER,
    revision INTEGER NOT NULL,
    number INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    signature BLOB NOT NULL,
    response_headers BLOB,
    response_body BLOB,
    truncated INTEGER NOT NULL DEFAULT 0,
    message INTEGER                    -- NULL: its request was for this delivery alone
) STRICT;

-- Requests that carried several deliveries: what can't be made again from one delivery's event.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- an attempt that outlives its message mustn't find another
    first_delivery INTEGER NOT NULL,
    last_delivery INTEGER NOT NULL,    -- the newest: the message is purged with it
    delivery_count INTEGER NOT NULL,
    event_id TEXT NOT NULL,            -- what the headers named
    event_type TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX messages_by_last_delivery ON messages (last_delivery);

-- Counts per minute (size 60) and hour (size 3600), kept so that statistics cost nothing to read.
-- webhook 0 is all of them together; outcome -1 counts events; duration_bucket is the scale of
-- prynt_relay.store.rollups.
CREATE TABLE rollups (
    size_s INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    duration_bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (size_s, start_ms, webhook, outcome, duration_bucket)
) STRICT, WITHOUT ROWID;

-- E-mails to send, at least once each.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL UNIQUE,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    next_try_ms INTEGER,               -- NULL: sent or given up
    tries INTEGER NOT NULL DEFAULT 0,
    sent_at_ms INTEGER,
    last_error TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (next_try_ms) WHERE next_try_ms IS NOT NULL;

-- Answers to POSTs that succeeded with an Idempotency-Key, kept 24 h; encrypted where response_key
-- is set, since an answer may hold a signing secret.
CREATE TABLE api_requests (
    key TEXT PRIMARY KEY,
    request_hash BLOB NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL,             -- JSON object
    response BLOB NOT NULL,
    response_key TEXT,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_requests_by_time ON api_requests (created_at_ms);

-- Work in chunks that must be finished after a restart: what to do with a webhook's deliveries.
CREATE TABLE bulk_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- who still holds an ended job mustn't meet another
    kind TEXT NOT NULL,                -- hold, cancel, retry
    webhook INTEGER NOT NULL,
    -- The rest is a retry's: its window, the states that are left, and how far it came.
    since_ms INTEGER NOT NULL DEFAULT 0,
    until_ms INTEGER,
    states TEXT NOT NULL DEFAULT '[]', -- JSON array of numbers
    first_delivery INTEGER NOT NULL DEFAULT 0,
    max_delivery INTEGER NOT NULL DEFAULT 0,
    cursor_ms INTEGER NOT NULL DEFAULT 0,
    cursor INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX bulk_jobs_by_webhook ON bulk_jobs (webhook);
