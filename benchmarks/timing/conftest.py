"""
What takes time, on a machine that does nothing else: ``nox --session timing``.

The tests count work instead, for other load would fail a limit in seconds.
"""

pytest_plugins = ["tests.conftest", "tests.bindings.conftest", "tests.pubsub.conftest"]
