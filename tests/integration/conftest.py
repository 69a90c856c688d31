"""What holds for the tests of parts that run in this process."""

import pytest

from tests.integration.receivers import small_trust_store


@pytest.fixture(autouse=True)
def trust_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have little read when a TLS context is made, of which nearly every test makes one."""
    # Slow ones may fetch what they need, from servers that the machine's own store vouches for.
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("SSL_CERT_FILE", str(small_trust_store()))
