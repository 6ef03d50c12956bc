"""The rows of a binding: their JSON, and their order."""
