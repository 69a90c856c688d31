"""A JMESPath interpreter whose work is bounded.

JMESPath has no loops, but nested projections multiply, `[@, @]` doubles, and a function may walk,
copy or sort whatever it is given: an expression of a hundred characters can ask for more work than
a machine ever does. So every step is charged to a budget before it is taken, and what isn't a step
by the size of what it works on. The budget counts work, not time: a filter fails on an event always
or never, however busy the machine is.
"""

import operator
from collections.abc import Callable
from typing import Any, Final

from jmespath import exceptions, functions
from jmespath.visitor import Options, TreeInterpreter

from prynt_relay.errors import RelayError

WORK_LIMIT: Final = 4_000
"""Steps that one evaluation may take, of some 0.5 µs each. An ordinary filter takes ten."""

_CALL_STEPS: Final = 5
"""What a function costs beyond what it works on: the library checks its arguments."""
_CHARS_PER_STEP: Final = 128
"""Searching so much text takes as long as a step, in the worst case."""
_DIGITS_PER_STEP: Final = 16
_BITS_PER_STEP: Final = 16
"""Reading and writing long integers takes quadratic time; up to Python's bound so much a step."""

Signature = Callable[..., Callable[[Any], Any]]
_signature: Final[Signature] = functions.signature


class FilterError(RelayError):
    """A filter failed on an event. The message tells nothing that the event holds."""


class _ExhaustedError(Exception):
    """The budget is spent."""


class _Meter:
    """What is left of the budget of one evaluation."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def spend(self, steps: int) -> None:
        """Take `steps` from the budget; raises once it is spent."""
        self.left -= steps
        if self.left < 0:
            raise _ExhaustedError

    def spend_size(self, value: Any) -> None:
        """Charge for going once through the elements or characters of `value`."""
        if isinstance(value, str):
            self.spend(len(value) // _CHARS_PER_STEP)
        elif isinstance(value, list | dict):
            self.spend(len(value))

    def spend_walk(self, value: Any) -> None:
        """Charge for a walk through all of `value`, as comparing or writing it takes.

        A list that an expression built may hold another many times over; a walk meets each.
        """
        stack = [value]
        while stack:
            value = stack.pop()
            self.spend(1)
            self.spend_size(value)  # before copying: a list may be longer than the budget
            if isinstance(value, list):
                stack.extend(value)
            elif isinstance(value, dict):
                stack.extend(value)
                stack.extend(value.values())
            elif isinstance(value, int):
                self.spend(value.bit_length() // _BITS_PER_STEP)

    def spend_keys(self, keys: list[Any], *, sort: bool) -> None:
        """Charge for comparing `keys`: each once, or as often as sorting takes."""
        self.spend(len(keys))
        chars = sum(len(key) for key in keys if isinstance(key, str))
        times = len(keys).bit_length() if sort else 1
        self.spend((len(keys) + chars // _CHARS_PER_STEP) * times)


class _Functions(functions.Functions):  # type: ignore[misc] # untyped library
    """JMESPath's functions, each charged before it runs."""

    def __init__(self, meter: _Meter) -> None:
        self._meter = meter

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        """Run a function; the library's own entry."""
        self._meter.spend(_CALL_STEPS)
        for arg in resolved_args:
            self._meter.spend_size(arg)
        return super().call_function(function_name, resolved_args)

    @_signature({"types": ["array", "string"]}, {"types": []})
    def _func_contains(self, subject: Any, search: Any) -> bool:
        self._meter.spend_walk(subject)
        return super()._func_contains(subject, search) is True

    @_signature({"types": []})
    def _func_to_string(self, arg: Any) -> str:
        self._meter.spend_walk(arg)
        return str(super()._func_to_string(arg))

    @_signature({"types": []})
    def _func_to_number(self, arg: Any) -> Any:
        if isinstance(arg, str):
            self._meter.spend(len(arg) // _DIGITS_PER_STEP)
        return super()._func_to_number(arg)

    @_signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, array: list[str]) -> str:
        chars = len(separator) * len(array) + sum(map(len, array))
        self._meter.spend(chars // _CHARS_PER_STEP)
        return separator.join(array)

    @_signature({"types": ["array-string", "array-number"]})
    def _func_sort(self, arg: list[Any]) -> list[Any]:
        self._meter.spend_keys(arg, sort=True)
        return sorted(arg)

    @_signature({"types": ["array-number", "array-string"]})
    def _func_max(self, arg: list[Any]) -> Any:
        self._meter.spend_keys(arg, sort=False)
        return max(arg, default=None)

    @_signature({"types": ["array-number", "array-string"]})
    def _func_min(self, arg: list[Any]) -> Any:
        self._meter.spend_keys(arg, sort=False)
        return min(arg, default=None)

    @_signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_sort_by(self, array: list[Any], expref: Any) -> list[Any]:
        pairs = self._keyed(array, expref, "sort_by")
        return [element for _, element in sorted(pairs, key=operator.itemgetter(0))]

    @_signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_min_by(self, array: list[Any], expref: Any) -> Any:
        pairs = self._keyed(array, expref, "min_by")
        return min(pairs, key=operator.itemgetter(0))[1] if pairs else None

    @_signature({"types": ["array"]}, {"types": ["expref"]})
    def _func_max_by(self, array: list[Any], expref: Any) -> Any:
        pairs = self._keyed(array, expref, "max_by")
        return max(pairs, key=operator.itemgetter(0))[1] if pairs else None

    def _keyed(self, array: list[Any], expref: Any, name: str) -> list[tuple[Any, Any]]:
        """Each element with its key, all of one kind, and the comparing paid for."""
        keys = [expref.visit(expref.expression, element) for element in array]
        kinds = {self._func_type(key) for key in keys}
        if not (kinds <= {"number"} or kinds <= {"string"}):
            wrong = ", ".join(sorted(kinds))
            raise exceptions.JMESPathTypeError(name, None, wrong, ["number", "string"])
        self._meter.spend_keys(keys, sort=name == "sort_by")
        return list(zip(keys, array, strict=True))


class Interpreter(TreeInterpreter):  # type: ignore[misc] # untyped library
    """JMESPath's interpreter on a budget. Not reentrant: for one event loop's use."""

    def __init__(self) -> None:
        self._meter = _Meter()
        super().__init__(Options(custom_functions=_Functions(self._meter)))

    def evaluate(self, tree: dict[str, Any], value: Any) -> bool:
        """Whether the expression is true of `value`, by JMESPath's notion of truth.

        False are `false`, `null` and empty texts, lists and objects. Raises `FilterError`.
        """
        self._meter.left = WORK_LIMIT
        try:
            return bool(self._is_true(self.visit(tree, value)))
        except _ExhaustedError:
            raise FilterError(
                f"the filter takes more than {WORK_LIMIT:,} steps on this event; "
                "narrow what it looks at"
            ) from None
        except exceptions.JMESPathTypeError as error:
            # Its own text holds the value, which is the event's.
            expected = " or ".join(error.expected_types)
            got = functions.TYPES_MAP.get(error.actual_type, error.actual_type)
            raise FilterError(f"{error.function_name}() takes {expected}, but got {got}") from None
        except Exception as error:  # noqa: BLE001 - whatever the library lets through
            # Overflows, infinities, zero steps of a slice, deep recursion: an expression that
            # can't be evaluated must not take the event down with it.
            raise FilterError(
                f"the filter can't be evaluated on this event ({type(error).__name__})"
            ) from None

    @property
    def steps(self) -> int:
        """What the last evaluation took."""
        return WORK_LIMIT - self._meter.left

    def visit(self, node: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Take one step."""
        meter = self._meter
        meter.left -= 1
        if meter.left < 0:
            raise _ExhaustedError
        return super().visit(node, *args, **kwargs)

    def visit_comparator(self, node: dict[str, Any], value: Any) -> Any:
        """Compare; equality walks both sides, so the walk is paid for.

        An order between a text and a number is null, as between all other kinds.
        """
        left, right = (self.visit(child, value) for child in node["children"])
        compare = self.COMPARATOR_FUNC[node["value"]]
        if node["value"] in self._EQUALITY_OPS:
            if isinstance(left, str | list | dict) and type(left) is type(right):
                self._meter.spend_walk(left)
            return compare(left, right)
        kinds = {self._functions._func_type(side) for side in (left, right)}  # noqa: SLF001 - part of the same interpreter
        if kinds == {"string"}:
            self._meter.spend_size(left)
        return compare(left, right) if kinds in ({"number"}, {"string"}) else None

    def visit_flatten(self, node: dict[str, Any], value: Any) -> list[Any] | None:
        """Flatten by one level; the result may be far longer than what it is made of."""
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._meter.spend(len(base))
        self._meter.spend(sum(len(element) for element in base if isinstance(element, list)))
        flat: list[Any] = []
        for element in base:
            if isinstance(element, list):
                flat.extend(element)
            else:
                flat.append(element)
        return flat

    def visit_slice(self, node: dict[str, Any], value: Any) -> Any:
        """Copy a part of a list."""
        self._meter.spend_size(value)
        return super().visit_slice(node, value)
