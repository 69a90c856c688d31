"""URLs, headers and configurations that somebody has put together to do harm."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from prynt_relay.config import sources
from prynt_relay.config.keys import KEYS
from tests.unit.input_judge import check_config, check_header, check_url

hosts = st.sampled_from(
    [
        *("example.com", "127.0.0.1", "localhost", "a.localhost", "[::1]", "0x7f.1", "bücher.de"),
        *(
            "\uff11\uff12\uff17.0.0.1",
            "127。0。0。1",
            "exa\u00admple.com",
            "ß.example",
            "①.example",
            "a.\uff4cocalhost",
        ),
        *(
            "xn--a.example",
            "xn--.com",
            "xn--zca.example",
            "\u2488com",
            "example.com.",
            "2130706433",
        ),
        *("a.0x7f000001", "a.0177", "a.1", "::1", "☃.net", "a\u200db.com", "faß.de", "K.com"),
    ]
)
bits = st.sampled_from(
    [
        *("https://", "http://", "//", "/", "\\", "@", ":", "?", "#", "%", "%2f", "%00", "%0d%0a"),
        *(":443", ":0", ":65536", ":+80", ":٣", "user:pass@", "[", "]", "..", ".", "\t", "\r\n"),
        *(" ", "\u2028", "\x7f", "\ud800", "é", "a", "1", "_", "-", "~", "*", "<", '"', "{", "|"),
    ]
)
any_text = st.text(st.characters(exclude_categories=()), max_size=12)
urls = st.one_of(
    st.builds("https://{}{}".format, hosts, st.lists(bits | any_text, max_size=4).map("".join)),
    st.builds("https://{}{}/".format, any_text, hosts),
    st.lists(bits | hosts | any_text, max_size=8).map("".join),
)


@given(url=urls)
@example(url="https://a.test/\ud800")
@settings(max_examples=1000, deadline=None)
def test_any_url_is_refused_or_a_request_to_a_public_name(url: str) -> None:
    """What is taken makes one well-formed request to a domain name, whoever reads the URL."""
    check_url(url)


@given(
    name=st.text(string.ascii_letters + string.digits + "-_!#$ \r\n:\0é", max_size=20) | any_text,
    value=any_text | st.text(st.characters(max_codepoint=255), max_size=40),
)
@example(name="X-A", value="b\r\nX-Prynt-Event: forged")
@example(name="X-A", value="b\x85X-B: c")
@example(name="ACCEPT", value="")
@settings(max_examples=700, deadline=None)
def test_any_header_is_refused_or_one_line_more(name: str, value: str) -> None:
    """What is taken adds its own line to the request and changes no other."""
    check_header(name, value)


values = st.recursive(
    st.sampled_from(
        ['""', '"1s"', '"0s"', "1", "-1", "1e999", "nan", "true", '"127.0.0.1:0"', "9" * 30, '"::"']
    )
    | any_text.map(repr)
    | st.sampled_from(['"a@b"', '"/dev/null"', '"20GB"', '"0660"', "1979-05-27", "'''\n'''"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
keys = st.sampled_from([key.path for key in KEYS] + ["api", "api.x", "x", '"a.b"', "api.listen.x"])
documents = st.lists(
    st.builds("{} = {}".format, keys, values) | any_text | st.just("[delivery]"), max_size=6
).map("\n".join)


@given(text=documents)
@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_configuration_is_taken_or_refused_line_by_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused is told in printable lines; what is taken prints as itself."""
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "none")
    file = tmp_path / "config.toml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    check_config(file, {"HOME": str(tmp_path)})
