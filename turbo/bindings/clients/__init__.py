"""The WebSocket clients of bindings, and the rows and changes that they get."""
