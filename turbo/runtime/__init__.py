"""Threads, loops, tasks, queues and Redis clients; nothing here knows streams."""
