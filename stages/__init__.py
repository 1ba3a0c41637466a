"""The pipeline's stages, one script each: read params and tables, call the library, write a table, say what was done."""
