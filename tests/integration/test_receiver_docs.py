"""What the docs tell receivers is so: each snippet runs, each table is the code's."""

import hashlib
import hmac
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets
from prynt_relay.transport import formats
from prynt_relay.transport.formats.fingerprint_mapping import mapping_table
from prynt_relay.webhooks.filter_evaluation import WORK_LIMIT
from prynt_relay.webhooks.filter_syntax import LENGTH_MAX, NESTING_MAX
from prynt_relay.webhooks.filters import NESTED_MAX, Filters
from tests.docs_blocks import docs_story, docs_text
from tests.integration.deliveries import NEW, OLD, delivery

DOCS = Path(__file__).parents[2] / "docs"


def _snippet(language: str) -> str:
    found = [each.text for each in docs_story("receivers-verify") if each.language == language]
    assert len(found) == 1, f"{len(found)} snippets for {language}"
    return found[0]


# What each language needs to call its snippet: the cases are lines of body file, timestamp,
# signature and secret, separated by tabs; the answer is a line of true or false for each.
PYTHON = """
import sys
from verify import verify
for line in open(sys.argv[1], encoding="utf-8"):
    body, timestamp, signature, secret = line.rstrip("\\n").split("\\t")
    print(str(verify(open(body, "rb").read(), timestamp, signature, secret)).lower())
"""
NODE = """
import fs from "node:fs";
import { verify } from "./verify.mjs";
for (const line of fs.readFileSync(process.argv[2], "utf8").trimEnd().split("\\n")) {
  const [body, timestamp, signature, secret] = line.split("\\t");
  console.log(verify(fs.readFileSync(body), timestamp, signature, secret));
}
"""
GO = """
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	cases, _ := os.ReadFile(os.Args[1])
	for _, line := range strings.Split(strings.TrimRight(string(cases), "\\n"), "\\n") {
		words := strings.Split(line, "\\t")
		body, _ := os.ReadFile(words[0])
		fmt.Println(verify(body, words[1], words[2], words[3]))
	}
}
"""
RUBY = """
require_relative "verify"
File.readlines(ARGV[0], chomp: true, encoding: "UTF-8").each do |line|
  body, timestamp, signature, secret = line.split("\\t", -1)
  puts verify(File.binread(body), timestamp, signature, secret)
end
"""
PHP = """<?php
require 'verify.php';
foreach (file($argv[1], FILE_IGNORE_NEW_LINES) as $line) {
    [$body, $timestamp, $signature, $secret] = explode("\\t", $line);
    $good = verify(file_get_contents($body), $timestamp, $signature, $secret);
    echo $good ? "true" : "false", "\\n";
}
"""
JAVA = """
import java.nio.file.Files;
import java.nio.file.Path;

public class Main {
    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] words = line.split("\\t", -1);
            byte[] body = Files.readAllBytes(Path.of(words[0]));
            System.out.println(PryntSignature.verify(body, words[1], words[2], words[3]));
        }
    }
}
"""
LANGUAGES: dict[str, tuple[str, str, str, list[list[str]]]] = {
    "python": ("verify.py", "main.py", PYTHON, [["python3", "main.py"]]),
    "js": ("verify.mjs", "main.mjs", NODE, [["node", "main.mjs"]]),
    "go": ("verify.go", "main.go", GO, [["go", "run", "."]]),
    "ruby": ("verify.rb", "main.rb", RUBY, [["ruby", "main.rb"]]),
    "php": ("verify.php", "main.php", PHP, [["php", "main.php"]]),
    "java": (
        "PryntSignature.java",
        "Main.java",
        JAVA,
        [["javac", "PryntSignature.java", "Main.java"], ["java", "-cp", ".", "Main"]],
    ),
}
SLOW = {"go"}  # compiles its standard library first


def _signature(body: bytes, timestamp: str, secret: str) -> str:
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _cases(folder: Path) -> tuple[str, list[bool]]:
    """The cases as a file's text, and which of them are to be let in."""
    sent = delivery(Format.PRYNT, (SignatureScheme.PRYNT,), Secrets(OLD))
    sent_at, signature = sent.headers["X-Prynt-Timestamp"], sent.headers["X-Prynt-Signature"]
    bodies = {
        "body": sent.body,
        "changed": sent.body + b" ",
        "empty": b"",
        "binary": bytes(range(256)) * 1024,
    }
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    now = str(int(time.time()))
    old, future, near = (str(int(now) - age) for age in (400, -400, 200))
    rows = [
        ("body", sent_at, signature, OLD, True),
        ("binary", now, _signature(bodies["binary"], now, OLD), OLD, True),
        ("empty", near, _signature(b"", near, OLD), OLD, True),
        ("changed", sent_at, signature, OLD, False),
        ("body", str(int(sent_at) - 1), signature, OLD, False),
        ("body", sent_at, signature, NEW, False),
        ("body", old, _signature(sent.body, old, OLD), OLD, False),
        ("body", future, _signature(sent.body, future, OLD), OLD, False),
        ("body", sent_at, "", OLD, False),
        ("body", sent_at, signature.removeprefix("sha256="), OLD, False),
        ("body", sent_at, signature[:-1], OLD, False),
        ("body", sent_at, "sha256=" + "z" * 64, OLD, False),
        ("body", sent_at, "sha256=" + "é" * 64, OLD, False),
        ("body", "", _signature(sent.body, "", OLD), OLD, False),
        ("body", "now", _signature(sent.body, "now", OLD), OLD, False),
        ("body", "9" * 40, _signature(sent.body, "9" * 40, OLD), OLD, False),
        ("body", "9" * 5_000, _signature(sent.body, "9" * 5_000, OLD), OLD, False),
    ]
    lines = ["\t".join(row[:4]) for row in rows]
    return "\n".join(lines) + "\n", [row[4] for row in rows]


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in LANGUAGES],
)
def test_a_snippet_verifies_and_refuses(language: str, tmp_path: Path) -> None:
    """Copied from the docs and called, it lets in what the relay sent and nothing else."""
    verify_file, main_file, main, commands = LANGUAGES[language]
    if any(shutil.which(command[0]) is None for command in commands):
        pytest.skip(f"{commands[0][0]} isn't on this machine")
    (tmp_path / verify_file).write_text(_snippet(language))
    (tmp_path / main_file).write_text(main.lstrip())
    (tmp_path / "go.mod").write_text("module receiver\n\ngo 1.19\n")
    cases, expected = _cases(tmp_path)
    (tmp_path / "cases").write_text(cases)
    environment = os.environ | {"GOTOOLCHAIN": "local", "LC_ALL": "C.UTF-8"}
    for command in commands:
        done = subprocess.run(
            [*command, "cases"] if command is commands[-1] else command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(let_in).lower() for let_in in expected], done.stderr


def test_the_library_snippet_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first delivery gives an event, its repetition none, a forgery a 401."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(docs_text("receivers-library"), names)  # noqa: S102 - our own docs
    handle = names["handle"]
    sent = delivery(Format.PRYNT, (SignatureScheme.PRYNT,), Secrets(OLD))
    status, event = handle(sent.body, sent.headers, [NEW, OLD])
    assert (status, event.event_type) == (200, "identification.complete")
    assert handle(sent.body, sent.headers, [OLD]) == (200, None)
    assert handle(sent.body, sent.headers, [NEW]) == (401, None)
    names["guard"].close()


def test_the_mapping_table_is_the_code() -> None:
    """docs/migrating-from-fingerprint.md ends with the table that the fields generate."""
    text = (DOCS / "migrating-from-fingerprint.md").read_text()
    assert text.endswith("\n\n" + mapping_table()), (
        "regenerate: python -m prynt_relay.transport.formats.fingerprint_mapping"
    )


def test_every_format_and_scheme_is_in_the_docs() -> None:
    """docs/formats.md has a row for each, with its content type."""
    text = (DOCS / "formats.md").read_text()
    for each in Format:
        row = rf"^\| `{each.label}`.* \| `{re.escape(formats.content_type(each))}` \|"
        assert re.search(row, text, re.MULTILINE)
    for scheme in SignatureScheme:
        assert re.search(rf"^\| `{scheme.label}`", text, re.MULTILINE)


def test_the_filters_in_the_docs_are_right() -> None:
    """Every example compiles, and the limits are those of the code."""
    text = (DOCS / "formats.md").read_text()
    [block] = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    expressions = block.splitlines()
    assert len(expressions) >= 5
    for expression in expressions:
        Filters.check(expression)
    for limit in (LENGTH_MAX, NESTING_MAX, WORK_LIMIT, NESTED_MAX):
        assert f"{limit:,}" in text
