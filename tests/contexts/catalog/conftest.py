"""The catalogue on each database."""

from __future__ import annotations

import pytest

from conftest import OpenDatabase
from doorbuster.contexts.catalog.service import CatalogService
from doorbuster.contexts.catalog.wiring import CatalogContext, build
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database


@pytest.fixture
async def catalog(platform: Platform, open_database: OpenDatabase) -> CatalogContext:
    return build(platform, await open_database("catalog", "doorbuster.contexts.catalog.migrations"))


@pytest.fixture
def service(catalog: CatalogContext) -> CatalogService:
    return catalog.service


@pytest.fixture
def database(catalog: CatalogContext) -> Database:
    return catalog.context.database
