"""import and export of the catalogue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doorbuster.apps.cli.options import OPERATOR, Config, Data, Database, Json, answer, in_shop, settings_of

if TYPE_CHECKING:
    from doorbuster.apps.shop import Shop
    from doorbuster.contracts.catalog import FileFormat, ImportProgress, ImportReport

Merchant = Annotated[int, typer.Option(help="The id of the merchant whose products they are. [default: the house]")]


def register(app: typer.Typer) -> None:
    app.command(name="import")(import_catalogue)
    app.command(name="export")(export_catalogue)


def import_catalogue(
    file: Annotated[Path | None, typer.Argument(help="A .csv or .jsonl file.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Import the sample catalogue instead of a file.")] = False,
    merchant: Merchant = OPERATOR.account_id,
    stock: Annotated[
        int | None,
        typer.Option(min=1, max=100_000_000, help="Receive so many units of every SKU of the merchant, too."),
    ] = None,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Import products: all of the file, or nothing and a list of what is wrong, line by line."""
    import tempfile

    from doorbuster.lab.sample_catalogue import write_sample

    if sample == (file is not None):
        raise typer.BadParameter("give a file, or --sample", param_hint="FILE")
    with tempfile.TemporaryDirectory() as folder:
        source = file
        if source is None:
            source = Path(folder) / "sample.jsonl"
            write_sample(source)
        report = _import(source, merchant, stock, settings_of(config, data, database))
    problems = [f"line {error.line}: {error.field}: {error.problem}" for error in report.errors]
    words = f"{report.created} products created, {report.updated} changed, {report.unchanged} unchanged"
    if not report.ok:
        words = "\n".join([*problems, f"nothing was imported: {report.failed} problems"])
    answer(report, json, words)
    if not report.ok:
        raise typer.Exit(1)


def _import(source: Path, merchant: int, stock: int | None, settings: Any) -> ImportReport:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(progress: ImportProgress) -> None:
            bar.update(task, description=progress.stage, completed=progress.done, total=progress.total)

        async def use(shop: Shop) -> ImportReport:
            with source.open("rb") as opened:
                report = await shop.catalog.service.import_products(opened, _format_of(source), merchant, show)
            if report.ok and stock:
                await _receive(shop, merchant, stock)
            return report

        return in_shop(settings, use)


async def _receive(shop: Shop, merchant: int, units: int) -> None:
    """The first units of every SKU that the merchant has."""
    import secrets

    from doorbuster.contracts.inventory import SkuUnits

    sku_ids = await shop.catalog.service.skus_of(merchant)
    lines = [SkuUnits(sku_id, units) for sku_id in sku_ids]
    await shop.inventory.service.receive_many(merchant, f"import-{secrets.token_hex(8)}", lines)


def export_catalogue(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file; - writes JSON lines to standard output.")],
    merchant: Merchant = OPERATOR.account_id,
    data: Data = None,
    database: Database = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Export a merchant's products in the format that import reads."""
    to_stdout = str(file) == "-"

    async def use(shop: Shop) -> int:
        size = 0
        with sys.stdout.buffer if to_stdout else file.open("wb") as opened:
            async for piece in shop.catalog.service.export_products(
                "jsonl" if to_stdout else _format_of(file), merchant
            ):
                size += opened.write(piece)
        return size

    size = in_shop(settings_of(config, data, database), use)
    if not to_stdout:
        answer({"ok": True, "file": str(file), "bytes": size}, json, f"{size} bytes in {file}")


def _format_of(file: Path) -> FileFormat:
    formats: dict[str, FileFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    if file.suffix.lower() not in formats:
        raise typer.BadParameter("must end in .csv or .jsonl", param_hint="FILE")
    return formats[file.suffix.lower()]
