"""Where something is, and where something goes."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

from msgspec import Struct

NAME_MAX, STREET_MAX, POSTCODE_MAX = 100, 200, 20
TEXT_PATTERN = (
    r"^[^\s\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
    r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
)
"""Starts with something visible; holds no control characters and none that turn the direction of writing."""
COUNTRY_PATTERN = "^[A-Z]{2}$"
PHONE_PATTERN = r"^\+?[0-9][0-9 ()/.-]{3,29}$"
EARTH_RADIUS_M = 6_371_008.8
"""Mean radius R1 of the WGS 84 ellipsoid: Moritz, Geodetic Reference System 1980, J. Geodesy 74 (2000)."""


class Place(Struct, frozen=True):
    """A point on the map: WGS 84, in degrees."""

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        # Comparisons that NaN fails too.
        if not (-90.0 <= self.latitude <= 90.0 and -180.0 <= self.longitude <= 180.0):
            raise ValueError(f"not a place on Earth: {self.latitude}, {self.longitude}")


class Destination(Struct, frozen=True):
    """Where an order goes. `region` and `postcode` may be empty; a courier needs `place`."""

    recipient: str
    phone: str
    country: str
    region: str
    city: str
    street: str
    postcode: str
    place: Place | None = None


def distance_m(a: Place, b: Place) -> float:
    """Along the great circle, in metres (haversine; a sphere, so within about 0.5 % of the ellipsoid)."""
    north, east = radians(b.latitude - a.latitude), radians(b.longitude - a.longitude)
    h = sin(north / 2) ** 2 + cos(radians(a.latitude)) * cos(radians(b.latitude)) * sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_M * asin(min(1.0, sqrt(h)))
