"""The live set of webhooks: which there are, what they match, and how they change."""
