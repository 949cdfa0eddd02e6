"""Who asks whom: contexts take one another by the Protocols of `contracts`, in `wiring.build`, never in a circle."""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

import pytest

from doorbuster.contexts import flash_sale
from doorbuster.contracts import catalog, payments

CONTEXTS = Path(flash_sale.__file__).parents[1]
NAMES = sorted(path.name for path in CONTEXTS.iterdir() if (path / "wiring.py").exists())


def protocols_in(annotation: Any) -> Iterator[type]:
    """The Protocols of `contracts` in a parameter's type, however wrapped."""
    of_a_contract = isinstance(annotation, type) and annotation.__module__.startswith("doorbuster.contracts.")
    if of_a_contract and getattr(annotation, "_is_protocol", False):
        yield annotation
    for inner in typing.get_args(annotation):
        if isinstance(inner, list):
            for each in inner:
                yield from protocols_in(each)
        else:
            yield from protocols_in(inner)


def neighbours(build: Callable[..., Any]) -> set[type]:
    """Whom a context asks: the Protocols that its `build` takes."""
    hints = typing.get_type_hints(build)
    return {found for name in inspect.signature(build).parameters for found in protocols_in(hints[name])}


def asked(protocols: set[type]) -> set[str]:
    return {protocol.__module__.rpartition(".")[2] for protocol in protocols}


def builders() -> Mapping[str, Callable[..., Any]]:
    return {name: importlib.import_module(f"doorbuster.contexts.{name}.wiring").build for name in NAMES}


def order_of(graph: Mapping[str, set[str]]) -> list[str]:
    """An order in which they can be built. Raises CycleError."""
    return list(TopologicalSorter(graph).static_order())


def test_who_asks_whom_is_no_circle():
    graph = {name: asked(neighbours(build)) for name, build in builders().items()}
    assert set(order_of(graph)) == set(NAMES)
    # A change of this is a change of the architecture: it is meant to be seen in review.
    assert graph == {
        "accounts": set(),
        "catalog": set(),
        "configuration": set(),
        "inventory": {"catalog"},
        "flash_sale": {"catalog", "inventory"},
        "payments": set(),
        "orders": {"flash_sale", "payments", "inventory"},
        "checkout": {"catalog", "inventory", "orders"},
        "delivery": {"orders"},
        "notifications": {"accounts", "orders"},
        "support": set(),
        "waiting_room": {"flash_sale"},
    }


def test_a_circle_is_noticed():
    class Returns(Protocol):
        async def give_back(self) -> None: ...

    Returns.__module__ = "doorbuster.contracts.orders"

    def build_payments(platform: object, returns: Callable[[int], Mapping[str, Returns | None]]) -> None: ...

    def build_orders(platform: object, payments: payments.Payments) -> None: ...

    build_payments.__annotations__["returns"] = Callable[[int], Mapping[str, Returns | None]]
    build_orders.__annotations__["payments"] = payments.Payments
    graph = {"payments": asked(neighbours(build_payments)), "orders": asked(neighbours(build_orders))}
    assert graph == {"payments": {"orders"}, "orders": {"payments"}}
    with pytest.raises(CycleError):
        order_of(graph)


def test_messages_and_errors_of_others_make_no_neighbour():
    def build(sku: catalog.SkuFacts, error: payments.PaymentOpen) -> None: ...

    build.__annotations__.update(sku=catalog.SkuFacts, error=payments.PaymentOpen)
    assert neighbours(build) == set()


def protocols_named_in(source: str) -> set[tuple[str, str]]:
    """(context, Protocol) of every Protocol that a module imports from `contracts`."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("doorbuster.contracts."):
            contract = importlib.import_module(typing.cast("str", node.module))
            for alias in node.names:
                if any(protocols_in(getattr(contract, alias.name))):
                    found.add((contract.__name__.rpartition(".")[2], alias.name))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nobody_asks_a_neighbour_who_was_not_given(name: str):
    # Who is given a Showcase is given the Catalog that it is.
    kinds = {kind for protocol in neighbours(builders()[name]) for kind in protocol.__mro__}
    given = {(kind.__module__.rpartition(".")[2], kind.__name__) for kind in kinds}
    named = {found for file in (CONTEXTS / name).rglob("*.py") for found in protocols_named_in(file.read_text())}
    own_or_audit = {found for found in named if found[0] in (name, "audit")}
    assert named - own_or_audit <= given


def test_one_who_asks_without_being_given_is_noticed():
    source = "def late():\n    from doorbuster.contracts.payments import Payment, Payments as Till"
    assert protocols_named_in(source) == {("payments", "Payments")}
