"""The pipeline's stages, one script each: read params and tables, call the library, write a table, print a summary."""
