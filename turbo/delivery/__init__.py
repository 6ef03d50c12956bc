"""The way of a message: from a broadcast over the channel layer to subscribers."""
