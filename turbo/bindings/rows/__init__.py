"""The rows of a binding: as text, and in their order."""
