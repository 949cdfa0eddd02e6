"""The REST face of accounts."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import delete, get, post
from litestar.datastructures import ResponseHeader
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.accounts import model
from doorbuster.contexts.accounts.model import Address, NewAddress, Tokens
from doorbuster.contexts.accounts.service import AccountsService
from doorbuster.contexts.accounts.sessions import SessionsService
from doorbuster.contracts.accounts import Account
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Role
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
    public,
)

EmailText = Annotated[str, Meta(max_length=model.EMAIL_MAX, pattern=model.EMAIL_PATTERN)]
NameText = Annotated[str, Meta(max_length=model.NAME_MAX, pattern=model.TEXT_PATTERN)]
LineText = Annotated[str, Meta(max_length=model.LINE_MAX, pattern=model.TEXT_PATTERN)]
OptionalText = Annotated[str, Meta(max_length=model.NAME_MAX, pattern=f"^$|{model.TEXT_PATTERN}")]
PostcodeText = Annotated[str, Meta(max_length=model.POSTCODE_MAX, pattern=f"^$|{model.TEXT_PATTERN}")]
CountryText = Annotated[str, Meta(pattern=model.COUNTRY_PATTERN, description="ISO 3166-1 alpha-2")]
PhoneText = Annotated[str, Meta(pattern=model.PHONE_PATTERN)]
RefreshTokenText = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}$")]


class RegisterBody(Struct, frozen=True, forbid_unknown_fields=True):
    email: EmailText
    password: Annotated[str, Meta(min_length=model.PASSWORD_MIN, max_length=model.PASSWORD_MAX)]
    name: NameText


class LogInBody(Struct, frozen=True, forbid_unknown_fields=True):
    email: EmailText
    password: Annotated[str, Meta(min_length=1, max_length=model.PASSWORD_MAX)]


class RefreshBody(Struct, frozen=True, forbid_unknown_fields=True):
    refresh_token: RefreshTokenText


class NewAddressBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    recipient: NameText
    phone: PhoneText
    country: CountryText
    region: OptionalText = ""
    city: NameText
    street: LineText
    postcode: PostcodeText = ""

    def address(self) -> NewAddress:
        return NewAddress(self.recipient, self.phone, self.country, self.region, self.city, self.street, self.postcode)


class AccountView(Struct, frozen=True):
    id: IdText
    email: str | None
    name: str
    role: Role
    created_at: TimeText

    @classmethod
    def of(cls, account: Account) -> AccountView:
        return cls(str(account.id), account.email, account.name, account.role, rfc3339(account.created_ms))


class TokensView(Struct, frozen=True):
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in_s: int

    @classmethod
    def of(cls, tokens: Tokens) -> TokensView:
        return cls(tokens.access_token, tokens.refresh_token, "Bearer", tokens.expires_in_s)


class AddressView(Struct, frozen=True):
    id: IdText
    recipient: str
    phone: str
    country: str
    region: str
    city: str
    street: str
    postcode: str
    created_at: TimeText

    @classmethod
    def of(cls, address: Address) -> AddressView:
        return cls(
            str(address.id),
            address.recipient,
            address.phone,
            address.country,
            address.region,
            address.city,
            address.street,
            address.postcode,
            rfc3339(address.created_ms),
        )


class AddressesView(Struct, frozen=True):
    """All of them: there are at most 20."""

    items: list[AddressView]


PRIVATE = [ResponseHeader(name="Cache-Control", value="no-store")]


def routes(service: AccountsService, sessions: SessionsService) -> list[ControllerRouterHandler]:
    return [*_account_routes(service), *_session_routes(sessions), *_address_routes(service)]


def _account_routes(service: AccountsService) -> list[ControllerRouterHandler]:
    @post(
        "/v1/accounts",
        status_code=201,
        guards=[public],
        response_headers=PRIVATE,
        tags=["accounts"],
        summary="Register",
    )
    async def register(request: AnyRequest, data: JSONBody[RegisterBody]) -> AccountView:
        key = idempotency_key_of(request)
        account = await service.register(data.email, data.password, data.name, key, _address_of(request))
        return AccountView.of(account)

    @get(
        "/v1/me",
        status_code=200,
        guards=[allow()],
        response_headers=PRIVATE,
        tags=["accounts"],
        summary="One's own account",
    )
    async def me(request: AnyRequest) -> AccountView:
        return AccountView.of(await service.me(principal_of(request)))

    return [register, me]


def _session_routes(sessions: SessionsService) -> list[ControllerRouterHandler]:
    @post(
        "/v1/sessions",
        status_code=201,
        guards=[public],
        response_headers=PRIVATE,
        tags=["sessions"],
        summary="Log in",
    )
    async def log_in(request: AnyRequest, data: JSONBody[LogInBody]) -> TokensView:
        return TokensView.of(await sessions.log_in(data.email, data.password, _address_of(request)))

    @post(
        "/v1/sessions/refresh",
        status_code=200,
        guards=[public],
        response_headers=PRIVATE,
        tags=["sessions"],
        summary="Exchange a refresh token for new tokens",
        description="Each refresh token works once; using one again ends its session.",
    )
    async def refresh(data: JSONBody[RefreshBody]) -> TokensView:
        return TokensView.of(await sessions.refresh(data.refresh_token))

    @post(
        "/v1/sessions/logout",
        status_code=204,
        guards=[public],
        response_headers=PRIVATE,
        tags=["sessions"],
        summary="Log out",
        description="Ends the session of this refresh token. The answer is the same if there is none.",
    )
    async def log_out(data: JSONBody[RefreshBody]) -> None:
        await sessions.log_out(data.refresh_token)

    return [log_in, refresh, log_out]


def _address_routes(service: AccountsService) -> list[ControllerRouterHandler]:
    @get(
        "/v1/me/addresses",
        status_code=200,
        guards=[allow()],
        response_headers=PRIVATE,
        tags=["accounts"],
        summary="One's own addresses",
    )
    async def list_addresses(request: AnyRequest) -> AddressesView:
        return AddressesView([AddressView.of(each) for each in await service.addresses(principal_of(request))])

    @post(
        "/v1/me/addresses",
        status_code=201,
        guards=[allow()],
        response_headers=PRIVATE,
        tags=["accounts"],
        summary="Add an address",
    )
    async def add_address(request: AnyRequest, data: JSONBody[NewAddressBody]) -> AddressView:
        key = idempotency_key_of(request)
        return AddressView.of(await service.add_address(principal_of(request), data.address(), key))

    @delete(
        "/v1/me/addresses/{address_id:str}",
        status_code=204,
        guards=[allow()],
        response_headers=PRIVATE,
        tags=["accounts"],
        summary="Delete an address",
    )
    async def delete_address(request: AnyRequest, address_id: FromPath[str]) -> None:
        await service.delete_address(principal_of(request), parse_id(address_id))

    return [list_addresses, add_address, delete_address]


def _address_of(request: AnyRequest) -> str:
    """The client's network address, as far as the server in front of us tells."""
    return request.client.host if request.client else ""
