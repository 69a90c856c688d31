"""What can be said of a filter's expression without an event: is it right, what does it read."""

import itertools
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

from jmespath import exceptions, functions, lexer, parser

from prynt_relay.errors import InvalidFieldError

LENGTH_MAX: Final = 2_048
"""Characters of an expression; reading as many takes some 2 ms."""
NESTING_MAX: Final = 100
"""Levels of an expression's tree; each is a few levels of Python's stack."""

Tree = dict[str, Any]
Path = tuple[str, str | None]
"""A member of the envelope; of `data` also the member in it, or None where it is read whole."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_FUNCTIONS: Final[dict[str, Any]] = functions.Functions.FUNCTION_TABLE


def compile_expression(expression: str) -> Tree:
    """The tree of a JMESPath expression.

    Raises `InvalidFieldError` for the field `filter`, with the place of what is wrong.
    """
    if not expression.strip():
        raise InvalidFieldError("filter", "is empty; give a JMESPath expression, or null for none")
    if len(expression) > LENGTH_MAX:
        raise InvalidFieldError(
            "filter", f"has {len(expression):,} characters; at most {LENGTH_MAX:,} are allowed"
        )
    tree = _parse(expression)
    if _nesting(tree) > NESTING_MAX:
        raise _too_deep()
    _check_functions(expression, tree)
    return tree


def _parse(expression: str) -> Tree:
    try:
        with warnings.catch_warnings():
            # Bare words in backticks are deprecated, but in every other JMESPath tutorial.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            tree: Tree = parser.Parser().parse(expression).parsed
    except exceptions.IncompleteExpressionError:
        raise _wrong(expression, len(expression), "the expression ends too early") from None
    except exceptions.LexerError as error:
        raise _wrong(expression, error.lexer_position, _first_line(error.message)) from None
    except exceptions.ParseError as error:
        # The library gives no position with some errors.
        position = error.lex_position or 0
        what = _first_line(error.msg)
        number = _NUMBER.match(expression, position)
        if number is not None and what == "invalid token":
            what += f"; a number stands in backticks: `{number[0]}`"
        raise _wrong(expression, position, what) from None
    except RecursionError:
        raise _too_deep() from None
    except Exception:  # noqa: BLE001 - the parser runs over the end of some broken expressions
        raise _wrong(expression, len(expression), "the expression can't be parsed") from None
    return tree


def _first_line(message: str) -> str:
    return message.splitlines()[0][:100].rstrip(".")


def _wrong(expression: str, position: int, what: str) -> InvalidFieldError:
    """An error with its place: 1-based, and the text from there on."""
    rest = expression[position : position + 20]
    near = f' near "{rest}"' if rest.strip() else ""
    return InvalidFieldError("filter", f"at character {position + 1}{near}: {what}")


def _too_deep() -> InvalidFieldError:
    return InvalidFieldError(
        "filter",
        f"nests more than {NESTING_MAX} levels; instead of a long chain of `||` use contains()",
    )


def _nesting(tree: Tree) -> int:
    """Levels of a tree, counted without recursion."""
    deepest = 0
    stack = [(tree, 1)]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        stack.extend((child, level + 1) for child in node["children"] if isinstance(child, dict))
    return deepest


def _calls(node: Tree) -> Iterator[tuple[str, int]]:
    """Name and number of arguments of each function call, in the order of the text."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    children = [child for child in node["children"] if isinstance(child, dict)]
    if node["type"] == "filter_projection":  # `left[?condition].right`, kept left, right, condition
        children = [children[0], children[2], children[1]]
    for child in children:
        yield from _calls(child)


def _call_positions(expression: str) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        tokens = list(lexer.Lexer().tokenize(expression))
    return [
        token["start"]
        for token, following in itertools.pairwise(tokens)
        if token["type"] == "unquoted_identifier" and following["type"] == "lparen"
    ]


def _check_functions(expression: str, tree: Tree) -> None:
    """Refuse what the library itself would only notice when it meets an event."""
    calls = list(_calls(tree))
    if not calls:
        return
    for (name, given), position in zip(calls, _call_positions(expression), strict=True):
        if name not in _FUNCTIONS:
            raise _wrong(expression, position, f"there is no function {name}()")
        signature = _FUNCTIONS[name]["signature"]
        wanted = len(signature)
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if given < wanted or (given > wanted and not variadic):
            least = "at least " if variadic else ""
            plural = "" if wanted == 1 else "s"
            what = f"{name}() takes {least}{wanted} argument{plural}, but is given {given}"
            raise _wrong(expression, position, what)


def reads(tree: Tree) -> frozenset[Path] | None:
    """The members of the envelope that an expression can look at; None: any."""
    found: set[Path] = set()
    return frozenset(found) if _collect(tree, found) else None


def _collect(node: Tree, found: set[Path]) -> bool:
    """Add what a node that is evaluated on the envelope reads; False if that can't be told."""
    kind, children = node["type"], node["children"]
    match kind:
        case "literal" | "expref":
            return True  # an expression passed to a function is evaluated on a list's elements
        case "field":
            found.add((node["value"], None))
            return True
        case "current" | "identity":
            return False
        case "subexpression" if children[0] == _DATA and _first(children[1])["type"] == "field":
            found.add(("data", _first(children[1])["value"]))
            return True
        case kind if kind in _FIRST_CHILD_ONLY:
            return _collect(children[0], found)
        case _:
            return all(_collect(child, found) for child in children)


_DATA: Final[Tree] = {"type": "field", "children": [], "value": "data"}
_FIRST_CHILD_ONLY: Final = frozenset(
    {
        "subexpression",
        "pipe",
        "index_expression",
        "projection",
        "value_projection",
        "filter_projection",
        "flatten",
    }
)
"""Of these only the first child sees what they are evaluated on; the others see its result."""


def _first(node: Tree) -> Tree:
    """The part of a node that sees what the node is evaluated on."""
    while node["type"] in _FIRST_CHILD_ONLY:
        node = node["children"][0]
    return node
