"""What observers watch, and how an event reaches those who subscribed to it."""
