"""
Tests that measure time, for a machine without other load: ``nox --session timing``.

All other tests count work instead, because other load could break limits in seconds.
"""

pytest_plugins = ["tests.conftest", "tests.bindings.conftest", "tests.pubsub.conftest"]
