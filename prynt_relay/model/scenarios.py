"""The people, places and rules that the samples are made of.

Addresses come from the ranges that RFC 5737 sets aside for documentation.
"""

from typing import Any, Final, NamedTuple


class Place(NamedTuple):
    """Where a visit comes from."""

    city: str
    region: str
    country: str
    latitude: float
    longitude: float
    timezone: str


class Device(NamedTuple):
    """What a visitor uses."""

    platform: str
    browser: str
    gpu: str
    type: str
    screenRes: str  # noqa: N815 - the name on the wire
    language: str


class Range(NamedTuple):
    """What a score may be, both ends included."""

    low: float
    high: float


class Scenario(NamedTuple):
    """A visit that a rule has something to say about; `signals` replaces the quiet defaults."""

    rule_id: str
    rule: str
    condition: str
    verdict: str
    signals: dict[str, Any]
    abuse: Range
    ato: Range
    bot: Range
    suspect: tuple[int, int]
    challenge: str = ""
    device_type: str = ""


PLACES: Final = (
    Place("San Francisco", "California", "US", 37.7749, -122.4194, "America/Los_Angeles"),
    Place("Toronto", "Ontario", "CA", 43.6532, -79.3832, "America/Toronto"),
    Place("São Paulo", "São Paulo", "BR", -23.5505, -46.6333, "America/Sao_Paulo"),
    Place("London", "England", "GB", 51.5072, -0.1276, "Europe/London"),
    Place("Berlin", "Berlin", "DE", 52.52, 13.405, "Europe/Berlin"),
    Place("Kraków", "Lesser Poland", "PL", 50.0647, 19.945, "Europe/Warsaw"),
    Place("Nairobi", "Nairobi County", "KE", -1.2921, 36.8219, "Africa/Nairobi"),
    Place("Singapore", "Central Singapore", "SG", 1.3521, 103.8198, "Asia/Singapore"),
    Place("Osaka", "Osaka", "JP", 34.6937, 135.5023, "Asia/Tokyo"),
)

DEVICES: Final = (
    Device("macOS", "Chrome 121", "Apple M3 Pro", "desktop", "2560x1440", "en-US"),
    Device("Windows", "Edge 121", "NVIDIA GeForce RTX 3060", "desktop", "1920x1080", "en-GB"),
    Device("Linux", "Firefox 122", "AMD Radeon RX 6700 XT", "desktop", "3440x1440", "de-DE"),
    Device("Android", "Chrome Mobile 121", "Adreno 740", "mobile", "1080x2340", "pt-BR"),
    Device("iOS", "Mobile Safari 17", "Apple A17 Pro", "mobile", "1179x2556", "ja-JP"),
    Device("iPadOS", "Mobile Safari 17", "Apple M2", "tablet", "1640x2360", "pl-PL"),
)

NETWORKS: Final = ("203.0.113", "198.51.100", "192.0.2")

QUIET: Final = Scenario(
    "", "", "", "allow", {}, Range(0.01, 0.05), Range(0.01, 0.03), Range(0.01, 0.03), (4, 12)
)

BLOCKED: Final = (
    Scenario(
        "rule_2bTq8LxV4mZr9",
        "Block automated browsers",
        "signals.bot.detected == true",
        "block",
        {"bot": {"detected": True, "type": "headless_chrome"}},
        Range(0.62, 0.94),
        Range(0.05, 0.35),
        Range(0.93, 0.99),
        (91, 99),
    ),
    Scenario(
        "rule_7hWc3NpK6yDf1",
        "Block tampered browsers behind a VPN",
        "signals.tampered == true && signals.vpn.detected == true",
        "block",
        {"tampered": True, "vpn": {"detected": True, "provider": "NordVPN"}},
        Range(0.71, 0.96),
        Range(0.31, 0.72),
        Range(0.12, 0.44),
        (78, 95),
    ),
    Scenario(
        "rule_5gMs1RjB8uXe4",
        "Block emulated devices",
        "signals.emulator == true && scores.abuse > 0.6",
        "block",
        {"emulator": True, "rootedDevice": True},
        Range(0.66, 0.91),
        Range(0.08, 0.4),
        Range(0.35, 0.7),
        (74, 90),
        device_type="mobile",
    ),
)

CHALLENGED: Final = (
    Scenario(
        "rule_9kFv6ZaQ2tHn5",
        "Challenge sign-ins that look taken over",
        "scores.ato > 0.5",
        "challenge",
        {"incognito": True},
        Range(0.12, 0.3),
        Range(0.55, 0.8),
        Range(0.02, 0.08),
        (52, 68),
        challenge="mfa",
    ),
    Scenario(
        "rule_3dYx7CwE1oGb8",
        "Challenge anonymising networks",
        "signals.vpn.detected == true || signals.proxy.detected == true || signals.tor == true",
        "challenge",
        {
            "vpn": {"detected": True, "provider": "Mullvad"},
            "proxy": {"detected": True, "type": "residential"},
        },
        Range(0.2, 0.45),
        Range(0.05, 0.2),
        Range(0.1, 0.3),
        (44, 61),
        challenge="captcha",
    ),
)

BOTS: Final = (
    ("headless_chrome", "browser_automation"),
    ("selenium", "webdriver_flag"),
    ("playwright", "browser_automation"),
    ("scraper", "behavioral_analysis"),
)

LISTS: Final = (("lst_8qPw4RkC1zTn6", "Blocked sources"), ("lst_2mXb9VhS5eJd7", "Watch list"))

ALERTS: Final = (
    ("alr_6sJd2FqX9wLk3", "Bot traffic spike", "spike", "bot_traffic_ratio", 0.2, 300, "high"),
    ("alr_1vNz8TeR5cUp7", "Sign-up velocity", "velocity", "signups_per_ip", 20, 600, "critical"),
    ("alr_4yHm3GbW7iAs9", "Unusual block rate", "anomaly", "block_ratio", 0.1, 900, "medium"),
)
