"""Redis clients for code with and without an event loop, scripts, subscriptions."""
