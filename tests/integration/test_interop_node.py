"""Software that others wrote accepts what the relay sends: libraries for Node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.model.states import Format, SignatureScheme
from tests.integration.deliveries import STRANGER, delivery, moments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node and npm"),
]

PACKAGES = {
    "@fingerprint/node-sdk": "^7.0.0",
    "@fingerprintjs/fingerprintjs-pro-server-api": "^6.0.0",
    "cloudevents": "^10.0.0",
    "standardwebhooks": "^1.0.0",
    "svix": "^1.40.0",
}

JUDGE = """
const judges = {
  standardwebhooks: ({ secret, body, headers }) =>
    new (require("standardwebhooks").Webhook)(secret).verify(body, headers),
  svix: ({ secret, body, headers }) =>
    new (require("svix").Webhook)(secret).verify(body, headers),
  "@fingerprintjs/fingerprintjs-pro-server-api": fingerprint,
  "@fingerprint/node-sdk": fingerprint,
  cloudevents: ({ body, headers }) => {
    const event = require("cloudevents").HTTP.toEvent({ headers, body: body.toString() });
    event.validate();
    return { id: event.id, source: event.source, type: event.type, data: event.data };
  },
};
function fingerprint({ library, secret, body, headers }) {
  const header = headers["FPJS-Event-Signature"];
  if (!require(library).isValidWebhookSignature({ header, data: body, secret })) {
    throw new Error("not valid");
  }
}
const cases = JSON.parse(require("fs").readFileSync(0));
const verdicts = cases.map((one) => {
  try {
    const value = judges[one.library]({ ...one, body: Buffer.from(one.body, "base64") });
    return { accepted: true, value };
  } catch (error) {
    return { accepted: false, error: String(error) };
  }
});
console.log(JSON.stringify(verdicts));
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the libraries installed."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text(json.dumps({"dependencies": PACKAGES}))
    (folder / "judge.cjs").write_text(JUDGE)
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund"],
        cwd=folder,
        check=True,
        timeout=500,
    )
    return folder


def _judge(project: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", "judge.cjs"],
        cwd=project,
        input=json.dumps(cases).encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    verdicts: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(verdicts) == len(cases)
    return verdicts


@pytest.mark.parametrize(
    ("library", "format", "scheme"),
    [
        ("standardwebhooks", Format.PRYNT, SignatureScheme.STANDARD),
        ("svix", Format.PRYNT, SignatureScheme.STANDARD),
        ("@fingerprintjs/fingerprintjs-pro-server-api", Format.FINGERPRINT,
         SignatureScheme.FINGERPRINT),
        ("@fingerprint/node-sdk", Format.FINGERPRINT, SignatureScheme.FINGERPRINT),
    ],
)  # fmt: skip
def test_signatures_are_verified_through_a_rotation(
    project: Path, library: str, format: Format, scheme: SignatureScheme
) -> None:
    """Every receiver that knows a current secret accepts, a stranger or a changed body never."""
    cases, expected = [], []
    for moment in moments():
        sent = delivery(format, (scheme,), moment.secrets)
        for secret, body, accepted in [
            *((secret, sent.body, True) for secret in moment.receiver_secrets),
            (STRANGER, sent.body, False),
            (moment.receiver_secrets[0], sent.body + b" ", False),
        ]:
            cases.append(
                {
                    "library": library,
                    "secret": secret,
                    "headers": sent.headers,
                    "body": base64.b64encode(body).decode(),
                }
            )
            expected.append(accepted)
    verdicts = _judge(project, cases)
    assert [verdict["accepted"] for verdict in verdicts] == expected, verdicts


def test_the_cloudevents_sdk_reads_our_events(project: Path) -> None:
    """The CloudEvents SDK for Node reads and validates a structured event."""
    sent = delivery(Format.CLOUDEVENTS, (SignatureScheme.PRYNT,), moments()[0].secrets)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    case = {
        "library": "cloudevents",
        "headers": headers,
        "body": base64.b64encode(sent.body).decode(),
    }
    [verdict] = _judge(project, [case])
    assert verdict["accepted"], verdict
    value = verdict["value"]
    assert value == {
        "id": "evt_9fJ3kL7mNpR2x",
        "source": "urn:prynt-relay",
        "type": "io.prynt.identification.complete",
        "data": json.loads(sent.body)["data"],
    }
