"""Places and destinations on the wire."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.kernel.places import (
    COUNTRY_PATTERN,
    NAME_MAX,
    PHONE_PATTERN,
    POSTCODE_MAX,
    STREET_MAX,
    TEXT_PATTERN,
    Destination,
    Place,
)

# With lengths, because a pattern's `$` lets a line break through in Python.
NameText = Annotated[str, Meta(max_length=NAME_MAX, pattern=TEXT_PATTERN)]
StreetText = Annotated[str, Meta(max_length=STREET_MAX, pattern=TEXT_PATTERN)]
OptionalText = Annotated[str, Meta(max_length=NAME_MAX, pattern=f"^$|{TEXT_PATTERN}")]
PostcodeText = Annotated[str, Meta(max_length=POSTCODE_MAX, pattern=f"^$|{TEXT_PATTERN}")]
CountryText = Annotated[str, Meta(pattern=COUNTRY_PATTERN, max_length=2, description="ISO 3166-1 alpha-2")]
PhoneText = Annotated[str, Meta(pattern=PHONE_PATTERN, max_length=32)]


class PlaceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """WGS 84, in degrees."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]

    def place(self) -> Place:
        return Place(self.latitude, self.longitude)

    @classmethod
    def of(cls, place: Place | None) -> PlaceBody | None:
        return None if place is None else cls(place.latitude, place.longitude)


class DestinationBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it goes. A courier (takeout) needs the place on the map."""

    recipient: NameText
    phone: PhoneText
    country: CountryText
    region: OptionalText = ""
    city: NameText
    street: StreetText
    postcode: PostcodeText = ""
    place: PlaceBody | None = None

    def destination(self) -> Destination:
        return Destination(
            recipient=self.recipient,
            phone=self.phone,
            country=self.country,
            region=self.region,
            city=self.city,
            street=self.street,
            postcode=self.postcode,
            place=None if self.place is None else self.place.place(),
        )

    @classmethod
    def of(cls, destination: Destination) -> DestinationBody:
        return cls(
            recipient=destination.recipient,
            phone=destination.phone,
            country=destination.country,
            region=destination.region,
            city=destination.city,
            street=destination.street,
            postcode=destination.postcode,
            place=PlaceBody.of(destination.place),
        )
