"""Products in files: CSV (a row per SKU) and JSON lines (a line per product).

An import reads the whole file first and lists every problem with its line. Only a file without problems is written,
in one transaction: all of it or nothing. A SKU is known by its code, so importing a file twice changes nothing;
a product that shares a SKU code with an existing product of the merchant is that product, and is changed to what
the file says, except that SKUs which the file does not name stay as they are. An export is read back unchanged.

Files are UTF-8 (a byte order mark in front is skipped). Amounts are whole minor units, as everywhere.
"""
