"""Every bootstrap setting, with a default that works on one machine. Where they come from: `sources`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
HttpUrl = Annotated[str, Meta(pattern=r"^(https?://[!-~]+)?\Z")]
WebhookSecret = Annotated[str, Meta(min_length=16)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Profile = Literal["development", "test", "production"]
Label = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*\Z", max_length=60)]


class WrongSetting(Exception):
    """A setting that does not exist or has a wrong value."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class DatabaseSettings(Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """Empty: SQLite files in the data folder. Else postgresql://user:password@host:port/database."""
    pool_size: Annotated[int, Meta(ge=1, le=100)] = 4
    """Connections per context and process."""
    allow_volatile: bool = False
    """Start although the database may lose acknowledged commits."""


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: HttpUrl = ""
    """Where others reach this server (webhooks of payment providers); default: http://host:port."""
    body_bytes_max: Annotated[int, Meta(ge=1024, le=64 * 1024 * 1024)] = 64 * 1024
    request_timeout_s: Seconds = 5.0
    connections_max: Count = 8_192
    """Of clients, streams and WebSockets among them; fewer where the system gives the process fewer files."""

    @property
    def patience_s(self) -> float:
        """After that those whose commit has begun are told that its outcome is unknown. Longer than a request's time
        limit (and SQLite's busy timeout): what ends by itself says what became of it."""
        return 1.5 * self.request_timeout_s


class SupportSettings(Struct, frozen=True, forbid_unknown_fields=True):
    open_per_customer_max: Annotated[int, Meta(ge=1, le=100)] = 5
    """Open conversations of one customer."""
    conversations_per_agent_max: Annotated[int, Meta(ge=1, le=100)] = 5
    """Open conversations that one agent has at a time."""
    answer_within_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """A conversation that its agent leaves unanswered for so long goes back into the queue."""


class LiveSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """WebSockets and event streams. Each takes a file descriptor."""

    connections_max: Count = 2_000
    """Of one process."""
    connections_per_account_max: Count = 10
    origins: tuple[str, ...] = ()
    """Pages that may open WebSockets, such as "https://shop.example". Empty: any, for tokens are never cookies."""


class AuthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[str, ...] = ()
    """Signing keys "id:base64url of 32 bytes"; the first one signs. Empty: kept in the data folder."""
    access_token_s: Annotated[int, Meta(ge=10, le=86_400)] = 900
    refresh_token_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] = 30 * 86_400
    hashing_at_once: Annotated[int, Meta(ge=1, le=64)] = 2
    """Password hashes computed at the same time (each takes 64 MiB and a core for some 0.1 s)."""


class FlashSaleSettings(Struct, frozen=True, forbid_unknown_fields=True):
    batch_max: Count = 512
    waiting_max: Count = 8192


class PaymentsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    simulator_url: HttpUrl = ""
    """Base address of the payment simulator; empty: no provider is connected."""
    webhook_secrets: tuple[WebhookSecret, ...] = ()
    """Accepted secrets, newest first, of at least 16 signs. Empty: kept in the data folder."""
    webhook_tolerance_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    provider_timeout_s: Seconds = 5.0
    stripe_url: HttpUrl = ""
    """Base address of a provider that speaks payment intents (https://api.stripe.com); empty: not connected."""
    stripe_secret_key: Annotated[str, Meta(pattern=r"^[!-~]{0,255}\Z")] = ""
    stripe_webhook_secrets: tuple[WebhookSecret, ...] = ()
    """Accepted secrets of its callbacks, newest first."""
    stripe_checkout_url: HttpUrl = ""
    """Where shoppers pay: the intent's id is added behind a slash. Empty: the provider's own address + /checkout."""
    default_provider: Literal["auto", "simulator", "stripe"] = "auto"
    """Which one opens new payments; auto: the simulator if it is connected, else the other."""


class RedisSettings(Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(pattern=r"^(rediss?://[!-~]+|rediss?\+cluster://[!-.0-~]+(/0?)?(\?[!-~]*)?)?\Z")] = ""
    """One server, or a cluster by one or more of its nodes: redis+cluster://first:7000,second:7000.

    Needed by the strategies redis_lua and redis_lock; with it the catalogue's cache has a tier for all processes.
    """


class InventorySettings(Struct, frozen=True, forbid_unknown_fields=True):
    strategy: Literal["pessimistic", "optimistic", "redis_lua", "redis_lock", "group_commit"] = "group_commit"
    """How stock is deducted when it is held."""
    batch_max: Count = 512
    waiting_max: Count = 8192


class CheckoutSettings(Struct, frozen=True, forbid_unknown_fields=True):
    batch_max: Count = 512
    waiting_max: Count = 8192
    guest_token_s: Annotated[int, Meta(ge=60, le=31 * 86_400)] = 7 * 86_400
    """How long a guest may look at their order."""
    pay_within_s: Annotated[int, Meta(ge=1, le=604_800)] = 900
    placing_limit_s: Annotated[int, Meta(ge=1, le=600)] = 30
    """After this time an order that could not be placed is given up."""
    carts_kept_days: Annotated[int, Meta(ge=1, le=366)] = 30
    """Carts that nobody has touched for so long are deleted."""


class OrdersSettings(Struct, frozen=True, forbid_unknown_fields=True):
    complete_after_days: Annotated[int, Meta(ge=1, le=366)] = 7
    """A parcel that nobody has confirmed counts as received so long after it was sent."""


class NotificationsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    shop_name: Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*\Z")] = "Doorbuster"
    """What the shop calls itself in messages."""
    locale: Literal["en", "zh"] = "en"
    """The language of those who have not chosen one."""
    time_zone: str = "UTC"
    """Of the times in messages: a name of the IANA database, such as Asia/Shanghai."""
    smtp_host: Annotated[str, Meta(pattern=r"^[!-~]{0,255}\Z")] = ""
    """The mail server; empty: no e-mail is sent."""
    smtp_port: Port = 587
    smtp_user: Annotated[str, Meta(max_length=255)] = ""
    smtp_password: Annotated[str, Meta(max_length=255)] = ""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` refuses a server without it; `tls` encrypts from the first byte (port 465)."""
    smtp_ca_file: str = ""
    """Certificates that the mail server's is checked against; empty: those of the system."""
    mail_from: Annotated[str, Meta(pattern=r"^([!-?A-~]{1,64}@[A-Za-z0-9.-]{1,255})?\Z")] = ""
    """The sender's address; needed for e-mail."""
    wecom_url: HttpUrl = ""
    """The webhook of a WeCom group's robot, with its key; empty: none."""
    wecom_format: Literal["text", "markdown"] = "text"
    wecom_kinds: tuple[Annotated[str, Meta(max_length=60)], ...] = ("sold-order-paid", "sold-order-cancelled")
    """Kinds of notifications that the group is told of (a robot takes 20 messages a minute)."""
    webhook_local: bool = False
    """For development: webhooks may go to http:// and to private addresses."""
    webhook_endpoints_max: Annotated[int, Meta(ge=1, le=100)] = 5
    """Endpoints of one merchant."""
    attempts_max: Annotated[int, Meta(ge=1, le=50)] = 10
    """A message that failed so often is dead until somebody replays it."""
    send_timeout_s: Annotated[float, Meta(gt=0, le=25)] = 10.0
    kept_days: Annotated[int, Meta(ge=1, le=3650)] = 90
    """Sent messages are deleted after so long."""

    def __repr__(self) -> str:
        """Without what is secret: the address of a robot holds its key."""
        shown = {
            name: "***" if name in ("smtp_password", "wecom_url") and getattr(self, name) else getattr(self, name)
            for name in self.__struct_fields__
        }
        return f"NotificationsSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class DeliverySettings(Struct, frozen=True, forbid_unknown_fields=True):
    offer_s: Annotated[int, Meta(ge=1, le=600)] = 30
    """How long a courier has to answer an offer."""
    round_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    """Pause between rounds of the dispatcher; events wake it earlier."""
    tasks_per_round: Annotated[int, Meta(ge=1, le=50_000)] = 10_000
    couriers_per_round: Annotated[int, Meta(ge=1, le=20_000)] = 2_000
    load_max: Annotated[int, Meta(ge=1, le=10)] = 2
    """Tasks that one courier carries at a time."""
    position_every_ms: Annotated[int, Meta(ge=0, le=60_000)] = 500
    """More positions of one courier are refused."""
    position_fresh_s: Annotated[int, Meta(ge=1, le=3_600)] = 60
    """A courier who was not heard of for so long gets no offers."""
    silent_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 180
    """A courier who is silent for so long before the pick-up loses the task to another."""
    excluded_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """A courier who did not want a task is not asked again for so long."""
    urgent_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """A task that nobody takes (or no merchant accepts) for so long is urgent."""
    alarm_after_s: Annotated[int, Meta(ge=1, le=604_800)] = 900
    """After this time people are told (in the log)."""
    resume_after_s: Annotated[int, Meta(ge=1, le=600)] = 5
    """A step that was begun and not ended, such as by a crash, is carried on after this time."""


class ProcessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    back_room: bool = True
    """Consumers and deadlines run in a second process, so that they never share the shop door's core."""
    labels: tuple[Label, ...] = ()
    """What this server is called in roll-outs of runtime settings ("canary", "eu-1")."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool | None = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    profile: Profile = "development"
    """What this is: other defaults, and in production no toys (see `profiles`)."""
    data: str = "data"
    """The folder of the embedded stores and of generated secrets."""
    database: DatabaseSettings = DatabaseSettings()
    http: HttpSettings = HttpSettings()
    live: LiveSettings = LiveSettings()
    support: SupportSettings = SupportSettings()
    auth: AuthSettings = AuthSettings()
    flash_sale: FlashSaleSettings = FlashSaleSettings()
    payments: PaymentsSettings = PaymentsSettings()
    checkout: CheckoutSettings = CheckoutSettings()
    redis: RedisSettings = RedisSettings()
    inventory: InventorySettings = InventorySettings()
    orders: OrdersSettings = OrdersSettings()
    notifications: NotificationsSettings = NotificationsSettings()
    delivery: DeliverySettings = DeliverySettings()
    process: ProcessSettings = ProcessSettings()

    @property
    def folder(self) -> Path:
        return Path(self.data)


def named_error(error: msgspec.ValidationError) -> WrongSetting:
    """msgspec says "... - at `$.http.port`" or "unknown field `x`": the key comes first in ours."""
    message = str(error)
    path = re.search(r" - at `\$\.?([^`]*)`", message)
    where = path[1] if path else ""
    problem = message[: path.start()] if path else message
    if unknown := re.search(r"unknown field `([^`]+)`", problem):
        where = f"{where}.{unknown[1]}" if where else unknown[1]
        problem = "there is no such setting"
    return WrongSetting(where or "settings", problem)
