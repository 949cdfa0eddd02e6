"""The words that everything else shares. Standard library and msgspec only; no I/O."""
