"""Sockets and event streams: who is connected, what they may see, what they cost."""
