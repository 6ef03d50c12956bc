"""What other threads send does not look like a strategy that draws by itself."""

from __future__ import annotations

import random

from channels_redis.core import RedisChannelLayer


def test_a_layer_draws_no_number_of_pythons() -> None:
    """Regression: a message of the publisher's thread failed a search, once in many."""
    layer, before = RedisChannelLayer(), random.getstate()

    layer.serialize({"type": "message"})

    assert random.getstate() == before
