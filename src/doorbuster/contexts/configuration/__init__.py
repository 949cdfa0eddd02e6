"""Configuration: runtime settings, versioned, audited, rolled out and rolled back."""
