"""Our own model families, one a file; each registers itself (docs/how-to/model.md)."""
