"""What knows no streams: threads, loops, tasks, queues and clients of Redis."""
