"""The API held against its own document by schemathesis: whatever it sends gets an answer that is described.

Its systematic cases break each constraint of the schema once; random ones follow. All of it is deterministic.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from journeys import things
from journeys.api_shop import ApiShop, api_shop

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
"""Random cases per operation, beside the systematic ones. To make one takes longer than to answer it; `make proof` asks
for more."""
TIMEOUT_S = 270

# Left out: positive_data_acceptance. Rules between fields (a sale that closes before it opens, a password like the
# e-mail address) and ids of things that do not exist cannot be said in a schema.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    """The log must not hold a failure when it ends."""
    with api_shop(tmp_path_factory.mktemp("fuzz"), with_payments=True) as shop:
        yield shop


@pytest.mark.parametrize("who", ["nobody", "admin"])
def test_ids_of_all_kinds(shop: ApiShop, tmp_path: Path, who: str):
    fuzz(shop, tmp_path, {} if who == "nobody" else shop.people[who].headers)


def test_things_of_ones_own(shop: ApiShop, tmp_path: Path):
    sale = shop.sale(units=10_000, limit_per_customer=1000)
    order = shop.order("owner", sale["id"])
    ids = {
        "path.sale_id": sale["id"],
        "path.order_id": order["id"],
        "path.payment_id": shop.payment(shop.order("owner"))["id"],
        "path.product_id": shop.product()["id"],
        "path.provider": "simulator",
        "path.cart_id": things.a_cart(shop, "owner"),
        "path.conversation_id": things.a_conversation(shop, "owner"),
    }
    fuzz(shop, tmp_path, shop.people["owner"].headers, ids)
    # It did reach what a customer can do.
    assert shop.get(f"/v1/sales/{sale['id']}")["units_left"] < sale["units"] - 1
    assert shop.status_of(order) == "cancelled"


def fuzz(shop: ApiShop, folder: Path, headers: Mapping[str, str], parameters: Mapping[str, str] | None = None) -> None:
    """Runs schemathesis against the server; fails with its report. With `parameters`: on the routes that have one."""
    parameters = parameters or {}
    config = folder / "schemathesis.toml"
    lines = [f"headers = {{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in headers.items())} }}"]
    lines += ["[parameters]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in parameters.items())]
    config.write_text("\n".join(lines), "utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color"]
    command += ["run", f"{shop.base_url}/openapi.json", "--checks", ",".join(CHECKS)]
    # Most doors are closed to nobody, however the request is made: each constraint once will do.
    phases = "examples,coverage,fuzzing" if headers else "examples,coverage"
    command += ["--phases", phases, "--max-examples", str(EXAMPLES), "--generation-deterministic"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"]
    if parameters:
        named = "|".join(name.removeprefix("path.") for name in parameters)
        command += ["--include-path-regex", rf"\{{({named})\}}"]
    if headers:  # whoever may listen to an event stream would listen until it ends; tests/platform/http holds these
        command += ["--exclude-path-regex", "/live$"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    tried = re.search(r"(\d+) generated", done.stdout)
    assert tried is not None
    assert int(tried[1]) > 1000
