"""Form-encoded requests of the payment intents protocol: flat names with brackets, and bounds on everything."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from msgspec import Struct

from doorbuster.lab.payment_simulator.messages import AMOUNT_MAX

FIELDS_MAX = 80
METADATA_MAX, METADATA_NAME_MAX, METADATA_VALUE_MAX = 50, 40, 500
PAGE_MAX, PAGE_DEFAULT = 100, 10

_WHOLE = re.compile(r"[0-9]{1,16}")
_METADATA = re.compile(r"metadata\[([^\[\]]{1,40})\]")


class FormError(Exception):
    """A parameter that cannot be; ``code`` in the protocol's words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Form(Struct, frozen=True):
    """The parameters of a request, each given once except ``expand[]``."""

    values: dict[str, str]
    metadata: dict[str, str]
    expand: frozenset[str]

    def whole(self, name: str, lowest: int, highest: int) -> int | None:
        """Raises FormError."""
        text = self.values.get(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text) or not lowest <= int(text) <= highest:
            raise FormError("parameter_invalid_integer", f"{name} is {lowest} to {highest}")
        return int(text)

    def required(self, name: str, pattern: str) -> str:
        """Raises FormError."""
        text = self.optional(name, pattern)
        if text is None:
            raise FormError("parameter_missing", f"{name} is missing")
        return text

    def optional(self, name: str, pattern: str) -> str | None:
        """Raises FormError."""
        text = self.values.get(name)
        if text is not None and not re.fullmatch(pattern, text):
            raise FormError("parameter_invalid", f"{name} has a value that cannot be")
        return text

    def amount(self) -> int | None:
        """Raises FormError."""
        return self.whole("amount", 1, AMOUNT_MAX)

    def limit(self) -> int:
        """Raises FormError."""
        return self.whole("limit", 1, PAGE_MAX) or PAGE_DEFAULT


def read_form(text: str, known: frozenset[str]) -> Form:
    """The parameters in a body or a query. Raises FormError."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, encoding="utf-8", errors="strict")
    except ValueError as error:  # UnicodeDecodeError is one
        raise FormError("parameter_invalid", "the parameters cannot be read") from error
    values: dict[str, str] = {}
    metadata: dict[str, str] = {}
    expand: set[str] = set()
    for name, value in pairs:
        within = _METADATA.fullmatch(name)
        if name == "expand[]":
            expand.add(value)
        elif within is not None and "metadata" in known:
            metadata[within[1]] = _metadata_value(value)
        elif name not in known or name == "metadata":
            raise FormError("parameter_unknown", f"received unknown parameter: {name[:100]}")
        elif name in values:
            raise FormError("parameter_invalid", f"{name} is given twice")
        else:
            values[name] = value
    if len(metadata) > METADATA_MAX:
        raise FormError("parameter_invalid", f"at most {METADATA_MAX} metadata")
    return Form(values, metadata, frozenset(expand))


def _metadata_value(value: str) -> str:
    if len(value) > METADATA_VALUE_MAX:
        raise FormError("parameter_invalid", f"metadata have at most {METADATA_VALUE_MAX} signs")
    return value
