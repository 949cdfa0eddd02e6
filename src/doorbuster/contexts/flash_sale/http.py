"""The flash sale over HTTP. Claiming is the hottest route of the shop and therefore plain ASGI."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.flash_sale.model import Allotment, State, Terms
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contracts.flash_sale import QUANTITY_MAX, UNITS_MAX, Claim, ClaimRequest, SaleProposal
from doorbuster.kernel.admission import Admission, AdmissionInvalid
from doorbuster.kernel.clock import Clock, parse_rfc3339, rfc3339
from doorbuster.kernel.errors import Forbidden, Unauthenticated
from doorbuster.kernel.idempotency import checked_key
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.admissions import HEADER, TOKEN_BYTES_MAX, AdmissionKeys
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    MoneyBody,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
    public,
)
from doorbuster.platform.http.problems import InvalidBody, MalformedJson
from doorbuster.platform.http.raw import CONTEXT, FIELDS, IDEMPOTENCY_KEY, RawRoute, Scope, id_in_path
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor


class ClaimBody(Struct, frozen=True, forbid_unknown_fields=True):
    """How many units are wanted."""

    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


class ClaimView(Struct, frozen=True):
    """Units promised until `pay_by`. The order can be followed at once under `order_id`."""

    order_id: IdText
    sale_id: IdText
    quantity: int
    price: MoneyBody
    total: MoneyBody
    pay_by: TimeText
    state: str = "placing"
    released: bool = False

    @classmethod
    def of(cls, claim: Claim) -> ClaimView:
        price = claim.unit_price
        return cls(
            str(claim.order_id),
            str(claim.sale_id),
            claim.quantity,
            MoneyBody(price.amount, price.currency),
            MoneyBody(price.amount * claim.quantity, price.currency),
            rfc3339(claim.pay_by_ms),
            "released" if claim.released else "placing",
            claim.released,
        )


class SaleBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The terms of a new sale. `limit_per_customer` counts units over the whole life of the sale."""

    sku_id: IdText
    units: Annotated[int, Meta(ge=1, le=UNITS_MAX)]
    price: MoneyBody
    opens_at: Annotated[TimeText, Meta(max_length=40)]
    closes_at: Annotated[TimeText, Meta(max_length=40)]
    limit_per_customer: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)] = 1
    pay_within_s: Annotated[int, Meta(ge=1, le=604_800)] = 900

    def proposal(self) -> SaleProposal:
        """Raises InvalidId, InvalidBody."""
        try:
            opens_ms, closes_ms = parse_rfc3339(self.opens_at), parse_rfc3339(self.closes_at)
        except ValueError as error:
            raise InvalidBody(str(error)) from error
        return SaleProposal(
            sku_id=parse_id(self.sku_id),
            units=self.units,
            price=self.price.money(),
            limit_per_customer=self.limit_per_customer,
            opens_ms=opens_ms,
            closes_ms=closes_ms,
            pay_within_ms=self.pay_within_s * 1000,
        )


class SaleView(Struct, frozen=True):
    """A sale as it stands. `units_left` may be a quarter of a second old; `server_time` is for countdowns."""

    id: IdText
    sku_id: IdText
    title: str
    state: State
    units: int
    units_left: int
    price: MoneyBody
    limit_per_customer: int
    opens_at: TimeText
    closes_at: TimeText
    pay_within_s: int
    version: int
    server_time: TimeText
    waiting_room: bool

    @classmethod
    def of(cls, terms: Terms, allotment: Allotment, now_ms: int) -> SaleView:
        return cls(
            str(terms.sale_id),
            str(terms.sku_id),
            terms.title,
            allotment.state(now_ms),
            allotment.units,
            allotment.left,
            MoneyBody.of(terms.price),
            terms.limit_per_customer,
            rfc3339(allotment.opens_ms),
            rfc3339(allotment.closes_ms),
            terms.pay_within_ms // 1000,
            allotment.version,
            rfc3339(now_ms),
            allotment.guarded,
        )


class SalePage(Struct, frozen=True):
    items: list[SaleView]
    next_cursor: str | None


_claim_body = msgspec.json.Decoder(ClaimBody)
_encode = msgspec.json.Encoder().encode


def claim_route(
    service: FlashSaleService, request_timeout_s: float, admissions: AdmissionKeys | None = None
) -> RawRoute:
    """POST /v1/sales/{sale_id}/claims. Without keys no admission is good: a guarded sale admits nobody."""

    async def answer(scope: Scope, sale_id: str, body: bytes) -> tuple[int, bytes]:
        principal = scope["principal"]
        if principal is None:
            raise Unauthenticated
        if principal.role == "guest":
            raise Forbidden("a flash sale has a limit per customer: log in to claim")
        key = scope[FIELDS].get(b"idempotency-key")
        request = ClaimRequest(
            parse_id(sale_id),
            principal.account_id,
            checked_key(None if key is None else key.decode("latin-1")),
            _decode(body).quantity,
            _admission_in(scope, admissions),
        )
        claim = await service.claim(request, scope[CONTEXT].within(request_timeout_s))
        return 201, _encode(ClaimView.of(claim))

    operation, schemas = _claim_operation()
    # Whoever leaves while the claim waits is left out of the commit; one that is being committed is carried through.
    return RawRoute("POST", "/v1/sales/", "/claims", "sale_id", answer, operation, schemas, ends_with_client=True)


def _admission_in(scope: Scope, admissions: AdmissionKeys | None) -> Admission | None:
    """What the client shows, if it does and the signature is ours. Raises AdmissionInvalid."""
    shown = scope[FIELDS].get(HEADER)
    if shown is None:
        return None
    if admissions is None:
        raise AdmissionInvalid(reason="forged")
    return admissions.verify(shown)


def _decode(body: bytes) -> ClaimBody:
    """Raises InvalidBody, MalformedJson."""
    try:
        return _claim_body.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedJson from error


def _claim_operation() -> tuple[dict[str, Any], dict[str, Any]]:
    (body, view), schemas = msgspec.json.schema_components(
        [ClaimBody, ClaimView], ref_template="#/components/schemas/{name}"
    )
    operation: dict[str, Any] = {
        "tags": ["sales"],
        "operationId": "ClaimUnits",
        "summary": "Claim units of a sale",
        "description": "Durable when answered. The same key and body get the same answer, also after the sale.",
        "parameters": [
            id_in_path("sale_id"),
            IDEMPOTENCY_KEY,
            {
                "name": "Doorbuster-Admission",
                "in": "header",
                "required": False,
                "description": "For a sale with a waiting room: what one's ticket there gives when its turn has come",
                "schema": {"type": "string", "maxLength": TOKEN_BYTES_MAX},
            },
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"201": {"description": "Claimed", "content": {"application/json": {"schema": view}}}},
        "security": [{"token": []}],
    }
    return operation, schemas


def routes(service: FlashSaleService, clock: Clock) -> list[ControllerRouterHandler]:
    @post(
        "/v1/sales",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["sales"],
        summary="Schedule a sale",
    )
    async def create_sale(request: AnyRequest, data: JSONBody[SaleBody]) -> SaleView:
        sale = await service.create_sale(principal_of(request), idempotency_key_of(request), data.proposal())
        return SaleView.of(sale.terms, sale.allotment, clock.now_ms())

    @post(
        "/v1/sales/{sale_id:str}/close",
        status_code=200,
        guards=[allow("merchant", "admin")],
        tags=["sales"],
        summary="Close a sale now",
    )
    async def close_sale(request: AnyRequest, sale_id: FromPath[str]) -> SaleView:
        sale = await service.close_sale(principal_of(request), parse_id(sale_id))
        return SaleView.of(sale.terms, sale.allotment, clock.now_ms())

    @post(
        "/v1/sales/{sale_id:str}/open",
        status_code=200,
        guards=[allow("merchant", "admin")],
        tags=["sales"],
        summary="Open a scheduled sale now",
    )
    async def open_sale(request: AnyRequest, sale_id: FromPath[str]) -> SaleView:
        sale = await service.open_sale(principal_of(request), parse_id(sale_id))
        return SaleView.of(sale.terms, sale.allotment, clock.now_ms())

    @get("/v1/sales", guards=[public], tags=["sales"], summary="Sales, newest first")
    async def list_sales(cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT) -> SalePage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.list_sales(before, checked_limit(limit))
        now_ms = clock.now_ms()
        items = [SaleView.of(sale.terms, sale.allotment, now_ms) for sale in page.items]
        return SalePage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get("/v1/sales/{sale_id:str}", guards=[public], tags=["sales"], summary="A sale and its units left")
    async def get_sale(sale_id: FromPath[str]) -> SaleView:
        view = await service.sale(parse_id(sale_id))
        return SaleView.of(view.terms, view.allotment, clock.now_ms())

    @get("/v1/claims/{order_id:str}", guards=[allow()], tags=["sales"], summary="A claim of one's own")
    async def get_claim(request: AnyRequest, order_id: FromPath[str]) -> ClaimView:
        return ClaimView.of(await service.own_claim(principal_of(request), parse_id(order_id)))

    return [create_sale, close_sale, open_sale, list_sales, get_sale, get_claim]
