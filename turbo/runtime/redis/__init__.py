"""Clients of Redis, for code with and without a loop; scripts, and subscriptions."""
