-- The newest attempt when a window was asked to be sent again: what was attempted since isn't sent a
-- second time. A window that is being worked off counts from the upgrade on.
ALTER TABLE bulk_jobs ADD COLUMN max_attempt INTEGER NOT NULL DEFAULT 0;
UPDATE bulk_jobs SET max_attempt = (SELECT coalesce(max(id), 0) FROM attempts);

-- A hash has four places in a filter, where it had three: they are made anew from the keys.
DELETE FROM supplied_keys_filters;
DELETE FROM supplied_ids_filters;
