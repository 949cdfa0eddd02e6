"""The rows of the store."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator.messages import Intent, IntentStatus

Protocol = Literal["simulator", "stripe"]


class StoredIntent(Struct, frozen=True):
    """An intent's row; ``declines`` counts the tries that were declined, ``decline`` is the last one's code.

    ``stage`` "requires_action" while the shopper has something to do; ``metadata`` is a JSON object of texts.
    """

    id: str
    reference: str
    status: IntentStatus
    order_id: str
    amount: int
    currency: str
    captured: int
    refunded: int
    webhook_url: str
    declines: int
    protocol: Protocol
    decline: str | None
    stage: str
    method: str | None
    metadata: str
    created_ms: int

    @property
    def shown(self) -> Intent:
        """What the API tells."""
        return Intent(
            self.id,
            self.reference,
            self.status,
            self.order_id,
            self.amount,
            self.currency,
            self.captured,
            self.refunded,
        )

    @property
    def metadata_map(self) -> dict[str, str]:
        return msgspec.json.decode(self.metadata, type=dict[str, str])


class RefundRow(Struct, frozen=True):
    """A refund that was made; in the simulator's own protocol ``id`` is the merchant's."""

    id: str
    amount: int
    currency: str
    at_ms: int
    metadata: dict[str, str]
