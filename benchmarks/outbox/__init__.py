"""What is lost when a writer is killed: ``python -m benchmarks.outbox``."""
