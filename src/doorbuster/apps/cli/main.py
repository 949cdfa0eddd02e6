"""`doorbuster`: every command, and how failures look on a terminal."""

from __future__ import annotations

import sys

import typer

from doorbuster.apps.cli import bench, catalogue, city, config, events, lab, operate, payments, people, sales, stock

app = typer.Typer(
    name="doorbuster",
    help="A commerce backend for the moment everybody arrives at once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
operate.register(app)
catalogue.register(app)
people.register(app)
lab.register(app)
city.register(app)
app.add_typer(bench.app, name="bench")
app.add_typer(sales.app, name="sale")
app.add_typer(stock.app, name="stock")
app.add_typer(payments.app, name="payments")
app.add_typer(events.app, name="events")
app.add_typer(config.app, name="config")


def main() -> None:
    """Expected errors are one line on standard error and exit status 1; a wrong setting or usage is 2."""
    from doorbuster.apps.cli.failures import explain

    try:
        app()
    except Exception as error:
        words = explain(error)
        if words is None:
            raise
        print(f"doorbuster: {words[0]}", file=sys.stderr)
        sys.exit(words[1])
