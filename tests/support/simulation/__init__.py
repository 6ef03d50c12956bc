"""
A simulation of processes, their network and Redis, in one thread and without time.

The library, redis-py and channels-redis run in it as they are. What is simulated lies
below them: event loops with a common clock, TCP connections, and Redis servers.
"""
