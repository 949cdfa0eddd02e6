"""Builds the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from doorbuster.contexts.catalog.service import NAME, CatalogService
from doorbuster.platform.context import Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.catalog.migrations")


@dataclass(frozen=True)
class CatalogContext:
    service: CatalogService
    context: Context


def build(platform: Platform, database: Database) -> CatalogContext:
    service = CatalogService(platform, database)

    def faces() -> Faces:
        from doorbuster.contexts.catalog import http

        return Faces(http.routes(service))

    return CatalogContext(
        service, Context(name=NAME, database=database, history=HISTORY, faces=faces, keeps_idempotency_keys=True)
    )
