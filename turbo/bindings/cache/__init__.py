"""Cached querysets: declared, read, and kept up with the database."""
