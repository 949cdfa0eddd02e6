"""What the waiting room does about claims: the admission that was shown is used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from doorbuster.contexts.waiting_room import store
from doorbuster.contracts.flash_sale import AdmissionUsed
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.sql.database import Tx


def consumers() -> list[Consumer]:
    return [Consumer("waiting_room.admissions", "flash_sale", (AdmissionUsed,), mark_used)]


def mark_used(tx: Tx, envelopes: Sequence[Envelope[AdmissionUsed]]) -> None:
    used: defaultdict[int, list[int]] = defaultdict(list)
    for envelope in envelopes:
        used[envelope.event.sale_id].append(envelope.event.ticket_id)
    for room in store.lock_rooms(tx, sorted(used)):
        count = store.use(tx, room.sale_id, used[room.sale_id])
        if count:
            store.update_room(tx, room, used=room.used + count)
