"""The gateway of a running shop follows the configuration centre: limits and routes change under its feet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from journeys.api_shop import ApiShop, api_shop, eventually, problem

LIMITED = {"plugins": [{"type": "rate-limit", "limiter": "browsing", "by": "address"}]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("gateway")) as shop:
        yield shop


def change(shop: ApiShop, **values: Any) -> httpx.Response:
    version = shop.get("/v1/config", "admin")["version"]
    changes = [{"key": key.replace("__", "."), "value": value} for key, value in values.items()]
    return shop.ask("PUT", "/v1/config", "admin", {"version": version, "reason": "test", "changes": changes})


def asked(shop: ApiShop, times: int) -> list[int]:
    return [shop.ask("GET", "/healthz").status_code for _ in range(times)]


def test_a_limit_is_switched_on_changed_and_switched_off_while_the_shop_runs(shop: ApiShop):
    assert asked(shop, 20) == [200] * 20
    tight = {"limit": 1, "period_s": 3600, "burst": 3}
    assert change(shop, gateway=LIMITED, limits__browsing=tight).status_code == 200
    eventually(lambda: 429 in asked(shop, 5), "the limit holds")
    refused = shop.ask("GET", "/healthz")
    assert problem(refused) == (429, "rate-limited")
    assert int(refused.headers["retry-after"]) > 0
    # Who set it that tight is limited too; the command line goes another way.
    assert shop.ask("GET", "/v1/config", "admin").status_code == 429
    wide = ("limits.browsing.limit=1000", "limits.browsing.period_s=1", "limits.browsing.burst=1000")
    command = [sys.executable, "-m", "doorbuster", "config", "set", *wide, "--why", "too tight"]
    done = subprocess.run([*command, "--data", shop.settings.data], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    eventually(lambda: shop.ask("GET", "/healthz").status_code == 200, "the change is live")
    assert change(shop, gateway=None, limits__browsing=None).status_code == 200
    assert asked(shop, 20) == [200] * 20


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"plugins": [{"type": "rate-limit", "limiter": "nobody"}]}, "nobody"),
        ({"routes": [{"name": "a", "path": "/**", "to": [{"upstream": "elsewhere"}]}]}, "elsewhere"),
        ({"trusted_proxies": ["not a network"]}, "trusted_proxies"),
        ({"routes": []}, "gateway"),
    ],
)
def test_a_gateway_that_makes_no_sense_is_refused_and_the_old_one_stays(shop: ApiShop, value: Any, words: str):
    before = shop.get("/v1/config", "admin")["version"]
    refused = change(shop, gateway=value)
    assert problem(refused) == (400, "setting-invalid")
    assert words in refused.text
    assert shop.get("/v1/config", "admin")["version"] == before
    assert asked(shop, 3) == [200] * 3
