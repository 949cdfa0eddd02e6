"""Admissions: what somebody whose turn has come shows at a sale that has a waiting room."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.kernel.errors import Forbidden


class Admission(Struct, frozen=True):
    """This customer may claim once in this sale until `expires_ms`, by way of this ticket."""

    sale_id: int
    customer_id: int
    ticket_id: int
    expires_ms: int


class AdmissionRequired(Forbidden):
    """The sale has a waiting room: take a ticket there, and claim with the admission it gives when its turn comes."""

    slug = "admission-required"
    title = "This sale is entered through its waiting room"


class AdmissionInvalid(Forbidden):
    """Forged, somebody else's, another sale's, expired, or used: `reason` tells. A ticket gives one claim."""

    slug = "admission-invalid"
    title = "This admission is not good for this claim"
