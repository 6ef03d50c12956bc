"""One client of a consumer: its requests, its subscriptions and its turn."""
