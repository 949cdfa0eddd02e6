"""The catalogue: products and their SKUs, and their way in and out of files."""
