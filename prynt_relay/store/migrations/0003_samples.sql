-- Samples, by their one delivery: a retry of a window leaves them out. Ordinary events have no entry.
-- The second column spares a look at the event.
CREATE INDEX events_samples ON events (first_delivery, is_test) WHERE is_test = 1;
