"""The delivery of messages, from a broadcast over the channel layer to subscribers."""
