"""The messages between clients and consumers, and those on the channel layer."""
