"""Mistakes in a configuration file, each with how the answer to it begins.

A case is some TOML and lines with `=>` that belong together; an empty line ends it. `@120@` and
`@107@` stand for so many letters, `@21@` for an array of so many durations, `@THIS@` for this file.
"""

_CASES = r"""
nonsense = 1
=> nonsense: unknown key

statedir = 1
=> statedir: unknown key; did you mean state_dir?

concurrency = 5
=> concurrency: unknown key; did you mean delivery.concurrency?

[delivry]
x = 1
=> delivry: unknown section; did you mean [delivery]?

[zzz]
=> zzz: unknown section; there are intake, delivery, egress, api, metrics, email,

[delivery]
timout = 1
=> delivery.timout: unknown key; did you mean delivery.timeout?

[delivery]
foo = 1
=> delivery.foo: unknown key

[delivery]
bar = 1
=> delivery.bar: unknown key

[delivery]
recipents = []
=> delivery.recipents: unknown key; did you mean email.recipients?

delivery = 3
=> delivery: must be a section: [delivery]

"delivery.timeout" = "5s"
=> delivery.timeout: write this without quotes

[intake.socket]
=> intake.socket: must be a string, not a table

state_dir = 3
=> state_dir: must be a string, not 3

state_dir = ""
=> state_dir: must be a path, not ""

state_dir = "/dev/null"
=> state_dir: must be a folder, but "/dev/null" is none

state_dir = "~nobody-like-this/x"
=> state_dir: must be a path whose home folder is known

state_dir = "/@120@"
=> intake.socket: must be set to a path of at most 107 bytes

api_version = ""
=> api_version: must be 1 to 64 printable ASCII characters

api_version = "vé"
=> api_version: must be 1 to 64 printable ASCII characters without blanks, not "vé"

api_version = "a b"
=> api_version: must be 1 to 64 printable ASCII characters

api_version = 2026-01-15
=> api_version: must be a string, not 2026-01-15

extra_event_types = ["ok", "a b"]
=> extra_event_types: item 2 must be a name such as

extra_event_types = ["*"]
=> extra_event_types: item 1 must be a name such as

extra_event_types = "x"
=> extra_event_types: must be an array, such as [] or ["…"], not "x"

extra_event_types = [1]
=> extra_event_types: item 1 must be a string, not 1

encryption_keys = ["AAAA"]
=> encryption_keys: item 1 must be 32 bytes in base64

event_source = ""
=> event_source: must be a URI

event_source = "a b"
=> event_source: must be a URI or a path of one, such as "urn:

event_source = "%zz"
=> event_source: must be a URI

[intake]
socket = "/@107@"
=> intake.socket: must be a path of at most 107 bytes

[intake]
socket_mode = 660
=> intake.socket_mode: must be a string, not 660

[intake]
socket_mode = "0888"
=> intake.socket_mode: must be a file mode in octal, such as

[intake]
socket_mode = "rw-rw----"
=> intake.socket_mode: must be a file mode in octal

[intake]
max_payload = 0
=> intake.max_payload: must be a size from 1 to 16777216 bytes

[intake]
max_payload = "1GB"
=> intake.max_payload: must be a size from 1 to 16777216 bytes

[intake]
max_payload = "256 kb"
=> intake.max_payload: must be a size from 1

[intake]
max_payload = true
=> intake.max_payload: must be a size from 1

[intake]
max_payload = 1.5
=> intake.max_payload: must be a size from 1

[intake]
dedup_window = "0s"
=> intake.dedup_window: must be a duration from 1s to 365d

[intake]
dedup_window = 86400
=> intake.dedup_window: must be a duration from 1s to 365d

[delivery]
concurrency = 0
=> delivery.concurrency: must be a whole number from 1 to 10000

[delivery]
concurrency = "5"
=> delivery.concurrency: must be a whole number from 1 to 10000, not "5"

[delivery]
concurrency_per_webhook = 513
=> delivery.concurrency_per_webhook: must be at most delivery.concurrency, which is 512, not
=> 513

[delivery]
timeout = "31s"
=> delivery.timeout: must be a duration from 100ms to 30s

[delivery]
timeout = "10"
=> delivery.timeout: must be a duration from 100ms to 30s, such as "500ms", "10s",
=> not "10"

[delivery]
timeout = "-5s"
=> delivery.timeout: must be a duration

[delivery]
retry_schedule = ["5m", "5x"]
=> delivery.retry_schedule: item 2 must be a duration from 0s to 30d, such as "500ms", "10s",
=> "5m", not "5x"

[delivery]
retry_schedule = "5m"
=> delivery.retry_schedule: must be an array

[delivery]
retry_schedule = @21@
=> delivery.retry_schedule: must be an array of at most 20, not "21 of them"

[delivery]
disable_after = "0s"
=> delivery.disable_after: must be a duration from 1s

[egress]
allow_http = 1
=> egress.allow_http: must be true or false, not 1

[egress]
allow_addresses = ["10.0.0.1/8"]
=> egress.allow_addresses: item 1 must be a network in CIDR form, such as "10.0.0.0/8" (did you
=> mean 10.0.0.0/8?), not "10.0.0.1/8"

[egress]
allow_addresses = ["localhost"]
=> egress.allow_addresses: item 1 must be a network

[egress]
published_ips = ["1.2.3"]
=> egress.published_ips: item 1 must be a network

[egress]
ca_file = "/nowhere/ca.pem"
=> egress.ca_file: "/nowhere/ca.pem" can't be read: No

[egress]
ca_file = "/dev/null"
=> egress.ca_file: "/dev/null" holds no certificates

[egress]
ca_file = "@THIS@"
=> egress.ca_file:

[api]
listen = 8420
=> api.listen: must be a string, not 8420

[api]
listen = "8420"
=> api.listen: must be an address and a port, such as "127.0.0.1:8420"

[api]
listen = ":8420"
=> api.listen: must be an address and a port

[api]
listen = "::1:8420"
=> api.listen: must be an address and a port

[api]
listen = "[::g]:8420"
=> api.listen: must be an address and a port

[api]
listen = "127.0.0.1:65536"
=> api.listen: must be an address and a port

[api]
listen = "127.0.0.300:1"
=> api.listen: must be an address and a port

[api]
listen = "a b:1"
=> api.listen: must be an address and a port

[api]
listen = "127.0.0.1:9420"
=> api.listen: api and metrics can't both listen on port 9420

[metrics]
listen = "0.0.0.0:8420"
=> metrics.listen: api and metrics can't both listen on

[metrics]
per_webhook_limit = -1
=> metrics.per_webhook_limit: must be a whole number from 0

[email]
host = "a b"
=> email.host: must be a host name or an address

[email]
port = 0
=> email.port: must be a whole number from 1 to 65535, not 0

[email]
tls = "ssl"
=> email.tls: must be one of "starttls", "implicit", "none", not "ssl"

[email]
sender = "nobody"
=> email.sender: must be an e-mail address

[email]
sender = "a@b\r\nBcc: x@y"
=> email.sender: must be an e-mail address

[email]
recipients = ["a@b.c", "A <b>"]
=> email.recipients: item 2 must be an e-mail address

[email]
recipients = ["ü@b.c"]
=> email.recipients: item 1 must be an e-mail address

[email]
host = "m.example"
tls = "none"
username = "u"
password = "p"
=> email.tls: must be "starttls" or "implicit", not "none": the password would cross

[retention]
history = "0s"
=> retention.history: must be a duration from 1s to 3650d

[retention]
max_size = "1KB"
=> retention.max_size: must be a size from 1000000 to

[log]
level = "verbose"
=> log.level: must be one of "debug", "info", "warning", "error", not

[log]
format = "text"
=> log.format: must be one of "auto", "json", "console", not "text"
"""

_LONG = {
    "@120@": "x" * 120,
    "@107@": "x" * 107,
    "@21@": str(["1s"] * 21),
    "@THIS@": __file__,
}


def _case(block: str) -> tuple[str, str]:
    lines = block.strip().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("=>"))
    for short, long in _LONG.items():
        text = text.replace(short, long)
    return text, " ".join(line[3:] for line in lines if line.startswith("=>"))


MISTAKES = [_case(block) for block in _CASES.split("\n\n")]
