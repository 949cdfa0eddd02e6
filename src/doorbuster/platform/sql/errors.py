"""What a database may answer."""

from __future__ import annotations

from doorbuster.kernel.errors import Invalid


class RowRejected(Invalid):
    """A constraint or a type of the database refused the data; the transaction was rolled back.

    Reaching a shopper it is a bug: faces range every value first. It never names rows or SQL.
    """

    slug = "row-rejected"
    title = "The database refused these values"
