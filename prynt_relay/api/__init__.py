"""The REST API, its OpenAPI document, the streams and the dashboard."""
