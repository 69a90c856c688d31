"""The nouns: events, webhooks, deliveries, attempts, their ids and states. No I/O here."""
