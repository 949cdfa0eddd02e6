"""Our books against a provider's statement, line by line. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from doorbuster.contexts.payments.model import CAPTURABLE, PAID, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import StatementLine
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.kernel.clock import Instant

IN_FLIGHT_MS = 10_000
"""A movement that young may still be on its way to us."""


class Expected:
    """Ids that the statement must name, once each: nine bytes per id, so that millions fit."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._seen = bytearray()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, rising: Iterable[int]) -> None:
        """Ids above all that were added before."""
        self._ids.extend(rising)
        self._seen.extend(bytes(len(self._ids) - len(self._seen)))

    def see(self, number: int) -> bool:
        """False if it was seen before. An id that was not expected is not remembered."""
        place = bisect_left(self._ids, number)
        if place == len(self._ids) or self._ids[place] != number:
            return True
        if self._seen[place]:
            return False
        self._seen[place] = 1
        return True

    def unseen(self, limit: int) -> list[int]:
        """At most `limit` of those that the statement did not name."""
        found: list[int] = []
        place = self._seen.find(0)
        while place >= 0 and len(found) < limit:
            found.append(self._ids[place])
            place = self._seen.find(0, place + 1)
        return found


class Comparison:
    """Collects what a statement says that our rows do not."""

    def __init__(self, now_ms: Instant) -> None:
        self._now_ms = now_ms
        self.captures = Expected()
        self.refunds = Expected()
        self._lines = 0
        self._in_flight = 0
        self._breaches: list[str] = []

    def read(self, line: StatementLine, payment: PaymentRecord | None, refund: RefundRecord | None) -> None:
        """One line, with our rows of the ids it names, read after it."""
        self._lines += 1
        if payment is None:
            self._breach(f"the provider booked a {line.kind} for payment {line.payment_id}, which is not ours")
        elif line.kind == "capture":
            self._read_capture(line, payment)
        else:
            self._read_refund(line, payment, refund)

    def check(self, name: str) -> Check:
        """The verdict, after the last line."""
        for payment_id in self.captures.unseen(BREACHES_SHOWN):
            self._breach(f"payment {payment_id} is captured here, not at the provider")
        for refund_id in self.refunds.unseen(BREACHES_SHOWN):
            self._breach(f"refund {refund_id} is made here, not at the provider")
        detail = f"{self._lines} lines, {len(self.captures)} captures and {len(self.refunds)} refunds here"
        if self._breaches:
            return Check(name, "broken", detail, tuple(self._breaches))
        if self._in_flight:
            return Check(name, "in flight", f"{detail}, {self._in_flight} on their way")
        return Check(name, "holds", detail)

    def _read_capture(self, line: StatementLine, payment: PaymentRecord) -> None:
        theirs = (line.order_id, line.amount, line.currency)
        if theirs != (str(payment.order_id), payment.amount, payment.currency):
            self._breach(f"the provider captured {theirs} for payment {payment.id}, ours differs")
        elif not self.captures.see(payment.id):
            self._breach(f"payment {payment.id} was captured twice at the provider")
        elif payment.status not in PAID:
            self._late(line, f"payment {payment.id} is captured at the provider, here it is {payment.status}", payment)

    def _read_refund(self, line: StatementLine, payment: PaymentRecord, refund: RefundRecord | None) -> None:
        if refund is None or refund.payment_id != payment.id:
            self._breach(f"the provider made refund {line.refund_id}, which nobody here asked for")
        elif (line.amount, line.currency) != (refund.amount, refund.currency):
            self._breach(f"refund {refund.id} is {line.amount} {line.currency} at the provider, ours differs")
        elif not self.refunds.see(refund.id):
            self._breach(f"refund {refund.id} was made twice at the provider")
        elif refund.status == "requested":
            self._in_flight += 1

    def _late(self, line: StatementLine, breach: str, payment: PaymentRecord) -> None:
        """In flight, while a callback or a sweep will still bring it."""
        if payment.status in CAPTURABLE or abs(self._now_ms - line.at_ms) < IN_FLIGHT_MS:
            self._in_flight += 1
        else:
            self._breach(breach)

    def _breach(self, words: str) -> None:
        if len(self._breaches) < BREACHES_SHOWN:
            self._breaches.append(words)
