"""The page on which a person pays: one form, no script, readable on a phone."""

from __future__ import annotations

import html

from doorbuster.lab.payment_simulator.exchange import Response
from doorbuster.lab.payment_simulator.intents import PAYABLE
from doorbuster.lab.payment_simulator.messages import Intent, IntentStatus

WITHOUT_MINOR_UNIT = ("JPY", "KRW", "VND")

_SAYS: dict[IntentStatus, str] = {
    "requires_payment": "Waiting for your payment.",
    "failed": "Your last try was declined. You can try again.",
    "captured": "Paid. Thank you.",
    "refunded": "Paid, and paid back.",
    "cancelled": "This payment was cancelled. Nothing was taken.",
}

_FORM = """<form method="post" action="/checkout/{reference}/confirm">
<button name="outcome" value="success">Pay {amount}</button>
<button name="outcome" value="decline" class="quiet">Decline</button>
</form>"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Payment simulator: {amount}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 3rem auto; padding: 0 1rem;
  color: #1b1b1f }}
h1 {{ font-size: 2.2rem; margin: 0 }}
p {{ margin: .3rem 0 1rem }}
small {{ color: #5b5b66; overflow-wrap: anywhere }}
button {{ font: inherit; width: 100%; padding: .8rem; margin: .3rem 0; border: 0; border-radius: .5rem;
  background: #1f5eff; color: #fff }}
button.quiet {{ background: #e8e8ee; color: #1b1b1f }}
</style>
</head>
<body>
<main>
<p>Payment simulator: no real money moves here.</p>
<h1>{amount}</h1>
<p role="status">{says}</p>
{form}
<small>Order {order_id}<br>Payment {payment_id}<br>Reference {reference}</small>
</main>
</body>
</html>
"""

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def checkout_page(intent: Intent) -> Response:
    """The page of one intent; the form is there only while it can be paid."""
    amount, reference = html.escape(_money(intent)), html.escape(intent.reference)
    payable = intent.status in PAYABLE
    page = _PAGE.format(
        amount=amount,
        says=_SAYS[intent.status],
        form=_FORM.format(reference=reference, amount=amount) if payable else "",
        order_id=html.escape(intent.order_id),
        payment_id=html.escape(intent.id),
        reference=reference,
    )
    return Response(200, page.encode(), b"text/html; charset=utf-8", _HEADERS)


def back_to_page(reference: str) -> Response:
    """After the form was sent: look at the page again, so that a reload pays nothing."""
    return Response(303, b"", b"text/plain", ((b"location", f"/checkout/{reference}".encode()),))


def _money(intent: Intent) -> str:
    if intent.currency in WITHOUT_MINOR_UNIT:
        return f"{intent.amount} {intent.currency}"
    return f"{intent.amount // 100}.{intent.amount % 100:02d} {intent.currency}"
