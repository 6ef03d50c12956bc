"""Declare cached querysets, read them, and keep them up to date."""
