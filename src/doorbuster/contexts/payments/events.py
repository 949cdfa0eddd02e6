"""What payments do about orders: money that orders want back goes back."""

from __future__ import annotations

from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contracts.orders import RefundRequested
from doorbuster.platform.bus.consumer import Consumer


def consumers(service: PaymentsService) -> list[Consumer]:
    return [Consumer("payments.refunds", "orders", (RefundRequested,), service.refunding.request)]
