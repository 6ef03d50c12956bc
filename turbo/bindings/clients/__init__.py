"""What a client of a binding is sent."""
