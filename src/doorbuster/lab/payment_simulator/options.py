"""The command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator.deliverer import DeliveryPolicy
from doorbuster.lab.payment_simulator.misbehaviour import Misbehaviour, parse_pairs
from doorbuster.lab.payment_simulator.provider import Endpoint

SECRET_ENV_DEFAULT = "DOORBUSTER_SIMULATOR_SECRETS"  # noqa: S105 - the name of a variable, not a secret
STRIPE_SECRET_ENV = "DOORBUSTER_SIMULATOR_STRIPE_SECRETS"  # noqa: S105 - the name of a variable
STRIPE_KEY_ENV = "DOORBUSTER_SIMULATOR_STRIPE_KEY"
STRIPE_KEY_DEFAULT = "sk_test_simulator"
SECRETS_MAX = 4
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


class Options(Struct, frozen=True):
    """What one run of the simulator needs to know."""

    host: str
    port: int
    public_url: str | None
    data: Path
    secrets: tuple[bytes, ...]
    stripe_secrets: tuple[bytes, ...]
    stripe_key: str
    endpoint: Endpoint
    seed: int
    misbehaviour: Misbehaviour
    policy: DeliveryPolicy
    end_with_stdin: bool
    controllable: bool


def parse_options(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """Read the command line; a wrong one prints its reason and exits with 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return Options(
            host=given.host,
            port=given.port,
            public_url=given.public_url,
            data=given.data,
            secrets=_read_secrets(given.secret_env, environment),
            stripe_secrets=_read_secrets(
                STRIPE_SECRET_ENV if environment.get(STRIPE_SECRET_ENV) else given.secret_env, environment
            ),
            stripe_key=environment.get(STRIPE_KEY_ENV) or STRIPE_KEY_DEFAULT,
            endpoint=Endpoint(given.webhooks, given.stripe_webhook_url),
            seed=given.seed,
            misbehaviour=parse_pairs(given.misbehave),
            policy=_policy(given),
            end_with_stdin=given.end_with_stdin,
            controllable=given.host in LOOPBACK_HOSTS or given.allow_remote_control,
        )
    except (ValueError, msgspec.ValidationError) as error:
        parser.error(str(error))


def _read_secrets(name: str, environment: Mapping[str, str]) -> tuple[bytes, ...]:
    secrets = tuple(part.strip().encode() for part in environment.get(name, "").split(",") if part.strip())
    if not 1 <= len(secrets) <= SECRETS_MAX:
        raise ValueError(f"the environment variable {name} holds 1 to {SECRETS_MAX} secrets, comma separated")
    return secrets


def _policy(given: argparse.Namespace) -> DeliveryPolicy:
    return DeliveryPolicy(
        concurrent_max=given.deliveries_max,
        tries_max=given.tries_max,
        retry_base_ms=given.retry_base_ms,
        retry_cap_ms=given.retry_cap_ms,
        timeout_s=given.webhook_timeout_ms / 1000,
    )


def _parser() -> argparse.ArgumentParser:
    defaults = DeliveryPolicy()
    parser = argparse.ArgumentParser(
        prog="python -m doorbuster.lab.payment_simulator",
        description="A payment provider over HTTP that misbehaves on request; one JSON line when ready.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to bind; without loopback the control routes are off")
    add("--port", type=_whole(0, 65_535), default=0, help="0 lets the system choose")
    add("--public-url", help="base of the checkout addresses, when it differs from host and port")
    add("--data", type=Path, required=True, help="SQLite file; made when missing")
    add("--secret-env", default=SECRET_ENV_DEFAULT, help="environment variable with the webhook secrets")
    add("--webhooks", choices=("on", "off"), default="on", help="off: none for intents confirmed at once")
    add("--stripe-webhook-url", default="", help="where callbacks of the payment intents protocol go")
    add("--seed", type=int, default=0, help="the same seed misbehaves in the same way")
    add(
        "--misbehave",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help='like twice=0.1 late=true "late_ms=[9,90]"',
    )
    add("--end-with-stdin", action="store_true", help="stop when stdin is closed, as by a parent's death")
    add("--allow-remote-control", action="store_true", help="serve /control on any address")
    add("--deliveries-max", type=_whole(1, 1024), default=defaults.concurrent_max, help="webhooks at once")
    add("--tries-max", type=_whole(1, 100), default=defaults.tries_max, help="tries of one webhook")
    add("--retry-base-ms", type=_whole(1, 60_000), default=defaults.retry_base_ms)
    add("--retry-cap-ms", type=_whole(1, 3_600_000), default=defaults.retry_cap_ms)
    add("--webhook-timeout-ms", type=_whole(1, 60_000), default=int(defaults.timeout_s * 1000))
    return parser


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A converter for whole numbers within bounds, both included."""

    def convert(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{number} is not within {lowest}..{highest}")
        return number

    convert.__name__ = "whole number"  # argparse shows it for what is not one
    return convert
