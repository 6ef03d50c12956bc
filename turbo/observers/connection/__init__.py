"""The connection of one client: its requests, subscriptions and turns."""
