"""A coverage-guided fuzzer of what operators enter: `python -m tests.fuzz.fuzz_settings [CORPUS]`.

URLs, custom headers and configuration files. Needs atheris (the extra `fuzz`). It takes libFuzzer's
options, such as `-max_total_time=60`. What makes it fail is written to a file, which as an argument
reproduces the failure.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prynt_relay.webhooks.endpoint", "prynt_relay.config"]):
    from prynt_relay.config import loader, sources
    from prynt_relay.webhooks import endpoint

from tests.unit.input_judge import check_config, check_header, check_url

INSTRUMENTED = (loader, sources, endpoint)
URLS = [
    *(
        "https://example.com/a?b",
        "https://bücher.example:8443/",
        "https://127.1/",
        "https://a@b.c/",
    ),
    *(
        "https://[::1]/",
        "https://0x7f.0.0.1/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://a.localhost./",
    ),
]
HEADERS = [("X-Api-Key", "abc"), ("Authorization", "Bearer x"), ("X-A", "b\r\nHost: c"), ("Te", "")]
FILES = Path(tempfile.mkdtemp(prefix="prynt-relay-fuzz-"))


def test_one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"u":
        check_url(rest.decode(errors="surrogateescape"))
    elif kind == b"h":
        name, _, value = rest.decode("latin-1").partition("=")
        check_header(name, value)
    else:
        file = FILES / "config.toml"
        file.write_bytes(rest)
        check_config(file, {"HOME": str(FILES)})


def write_corpus(folder: Path) -> None:
    for number, url in enumerate(URLS):
        (folder / f"url-{number}").write_bytes(b"u" + url.encode())
    for number, (name, value) in enumerate(HEADERS):
        (folder / f"header-{number}").write_bytes(f"h{name}={value}".encode("latin-1"))
    example = (Path(__file__).parents[2] / "config.example.toml").read_text().splitlines()
    settings = [line.removeprefix("# ") for line in example if " = " in line or line[:1] == "["]
    for number in range(0, len(settings), 4):
        text = "\n".join(settings[number : number + 4])
        (folder / f"config-{number}").write_bytes(b"c" + text.encode())


def main() -> None:
    sources.SYSTEM_FILE = FILES / "none"  # type: ignore[misc]
    for name in [name for name in os.environ if name.startswith("PRYNT_RELAY_")]:
        del os.environ[name]
    if any(Path(argument).is_file() for argument in sys.argv[1:]):
        atheris.Setup(sys.argv, test_one_input)  # reproduces these, and no more
        atheris.Fuzz()
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        atheris.Setup([*sys.argv, folder], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
