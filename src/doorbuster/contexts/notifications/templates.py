"""What messages say, in every language. A template names what it needs; values are put in as text, never as markup."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from doorbuster.contexts.notifications.model import Facts, Kind, Locale, Mail
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.money import Money

SUBJECT_MAX = 150
VALUE_MAX = 300


class Template(Struct, frozen=True):
    subject: str
    body: str


EN: Mapping[Kind, Template] = {
    "order-placed": Template("Order {order} received", "We have received your order {order}: {amount}. Please pay it."),
    "order-paid": Template("Order {order} is paid", "Thank you. We have received {amount} for your order {order}."),
    "order-cancelled": Template("Order {order} is cancelled", "Your order {order} has been cancelled."),
    "order-refunded": Template("Refund for order {order}", "{amount} for your order {order} has been paid back."),
    "order-partly-refunded": Template(
        "Partial refund for order {order}", "{amount} of your order {order} has been paid back."
    ),
    "order-shipped": Template("Order {order} is on its way", "Your order {order} is on its way to you."),
    "order-completed": Template("Order {order} is complete", "Your order {order} is complete. Enjoy it."),
    "courier-assigned": Template("A courier takes order {order}", "A courier is fetching your order {order}."),
    "parcel-sent": Template(
        "Parcel for order {order}", "{carrier} has your order {order}. Tracking number: {tracking_number}"
    ),
    "order-delivered": Template("Order {order} is delivered", "Your order {order} has been delivered."),
    "offer-made": Template("New delivery", "Delivery of order {order} is offered to you until {expires}."),
    "courier-called-off": Template("Order {order} is not yours", "Order {order} is not yours to deliver any more."),
    "support-message": Template("New message", "{excerpt}"),
    "welcome": Template("Welcome to {shop}", "Hello {name}, your account at {shop} is ready."),
    "sold-order-paid": Template("Order {order} to send", "Order {order} is paid ({amount}). Please send it off."),
    "sold-order-cancelled": Template("Order {order} cancelled", "Order {order} was cancelled. Do not send it."),
    "sold-order-refunded": Template("Order {order} refunded", "{amount} of order {order} has gone back."),
    "sold-order-partly-refunded": Template(
        "Order {order} partly refunded", "{amount} of order {order} has gone back; the order goes on."
    ),
    "sold-order-shipped": Template("Order {order} sent off", "Order {order} is on its way."),
    "sold-order-completed": Template("Order {order} completed", "The customer has received order {order}."),
}

ZH: Mapping[Kind, Template] = {
    "order-placed": Template("订单 {order} 已提交", "我们已收到您的订单 {order}，金额 {amount}，请尽快付款。"),
    "order-paid": Template("订单 {order} 已付款", "感谢您的购买！订单 {order} 的 {amount} 已收到。"),
    "order-cancelled": Template("订单 {order} 已取消", "您的订单 {order} 已取消。"),
    "order-refunded": Template("订单 {order} 已退款", "订单 {order} 的 {amount} 已退回。"),
    "order-partly-refunded": Template("订单 {order} 部分退款", "订单 {order} 已退回 {amount}。"),
    "order-shipped": Template("订单 {order} 已发货", "您的订单 {order} 正在途中。"),
    "order-completed": Template("订单 {order} 已完成", "您的订单 {order} 已完成，祝您使用愉快。"),
    "courier-assigned": Template("订单 {order} 已有骑手接单", "骑手正在前往取您的订单 {order}。"),
    "parcel-sent": Template("订单 {order} 的包裹已寄出", "订单 {order} 已交给 {carrier}，运单号：{tracking_number}"),
    "order-delivered": Template("订单 {order} 已送达", "您的订单 {order} 已送达。"),
    "offer-made": Template("新的配送任务", "订单 {order} 的配送任务等待您接单，截止时间 {expires}。"),
    "courier-called-off": Template("订单 {order} 无需配送", "订单 {order} 已不再由您配送。"),
    "support-message": Template("新消息", "{excerpt}"),
    "welcome": Template("欢迎来到 {shop}", "{name}，您好！您在 {shop} 的账号已开通。"),
    "sold-order-paid": Template("订单 {order} 待发货", "订单 {order} 已付款（{amount}），请发货。"),
    "sold-order-cancelled": Template("订单 {order} 已取消", "订单 {order} 已取消，请勿发货。"),
    "sold-order-refunded": Template("订单 {order} 已退款", "订单 {order} 的 {amount} 已退回。"),
    "sold-order-partly-refunded": Template("订单 {order} 部分退款", "订单 {order} 已退回 {amount}，订单继续。"),
    "sold-order-shipped": Template("订单 {order} 已发出", "订单 {order} 正在途中。"),
    "sold-order-completed": Template("订单 {order} 已完成", "顾客已收到订单 {order}。"),
}

TEMPLATES: Mapping[Locale, Mapping[Kind, Template]] = {"en": EN, "zh": ZH}
_CLOSING: Mapping[Locale, str] = {"en": "Your {shop}", "zh": "{shop}"}
_SIGNS: Mapping[Locale, Mapping[str, str]] = {"zh": {"CNY": "¥"}, "en": {}}
_NO_DECIMALS = frozenset(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()  # noqa: SIM905 - as ISO 4217 lists them
)
_THREE_DECIMALS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))


class Shown(Struct, frozen=True):
    """A rendered notification, as plain text on one line and on several."""

    subject: str
    body: str


class Writer:
    """Writes in the shop's name, with times of its zone."""

    def __init__(self, shop: str, zone: ZoneInfo) -> None:
        self._shop = one_line(shop)
        self._zone = zone

    def write(self, locale: Locale, kind: Kind, facts: Facts, name: str, total: Money | None) -> Shown:
        """`total` is shown where the event itself names no amount."""
        amount = facts.amount or total
        values = {
            "shop": self._shop,
            "name": one_line(name),
            "order": "" if facts.order_id is None else str(facts.order_id),
            "amount": "" if amount is None else money_text(amount, locale),
            "carrier": one_line(facts.carrier),
            "tracking_number": one_line(facts.tracking_number),
            "excerpt": one_line(facts.excerpt),
            "expires": "" if facts.expires_ms is None else self.time_text(facts.expires_ms),
        }
        template = TEMPLATES[locale][kind]
        return Shown(template.subject.format_map(values)[:SUBJECT_MAX], template.body.format_map(values))

    def mail(self, locale: Locale, shown: Shown) -> Mail:
        closing = _CLOSING[locale].format(shop=self._shop)
        paragraphs = (shown.body, closing)
        text = "\n\n".join(paragraphs) + "\n"
        body = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
        language = "zh-CN" if locale == "zh" else "en"
        return Mail(shown.subject, text, f'<!doctype html><html lang="{language}"><body>{body}</body></html>\n')

    def time_text(self, instant: Instant) -> str:
        return f"{datetime.fromtimestamp(instant / 1000, self._zone):%Y-%m-%d %H:%M:%S %Z}"


def one_line(text: str) -> str:
    """Without anything that begins a line, steers a terminal or turns the direction of writing; bounded."""
    kept = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text[: 4 * VALUE_MAX])
    visible = "".join(sign for sign in kept if unicodedata.category(sign) not in ("Cf", "Cs"))
    return " ".join(visible.split())[:VALUE_MAX]


def money_text(money: Money, locale: Locale) -> str:
    """`Money(199000, "CNY")` → "CNY 1,990.00", in Chinese "¥1,990.00"."""
    decimals = 0 if money.currency in _NO_DECIMALS else 3 if money.currency in _THREE_DECIMALS else 2
    whole, part = divmod(abs(money.amount), 10**decimals)
    number = f"{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")
    sign = "-" if money.amount < 0 else ""
    symbol = _SIGNS[locale].get(money.currency)
    return f"{sign}{symbol}{number}" if symbol else f"{money.currency} {sign}{number}"
