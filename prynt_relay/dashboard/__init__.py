"""The dashboard: pages at `/`, rendered on the server from what the API's doors show."""
