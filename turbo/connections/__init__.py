"""Connections of clients: sockets, event streams, permissions and limits."""
