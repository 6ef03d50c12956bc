"""The events of observers, from the change of a model to the subscribed clients."""
