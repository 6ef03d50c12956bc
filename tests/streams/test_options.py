"""Only a class's own Meta counts."""

from __future__ import annotations

import pytest

from turbo.exceptions import ConfigurationError
from turbo.streams.options import Options


def test_a_class_without_meta_has_the_defaults() -> None:
    class Plain:
        pass

    assert Options.of(Plain) == Options()


def test_meta_is_taken_over_only_when_it_is_inherited_and_never_abstract() -> None:
    class Base:
        class Meta:
            abstract = True
            attribute = "live"

    class Child(Base):
        pass

    class Heir(Base):
        class Meta(Base.Meta):
            app_label = "chat"

    assert Options.of(Base) == Options(abstract=True, attribute="live")
    assert Options.of(Child) == Options()
    assert Options.of(Heir) == Options(attribute="live", app_label="chat")


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    class Odd:
        class Meta:
            modell = 1

    with pytest.raises(ConfigurationError, match=r"Odd.Meta has no option 'modell'"):
        Options.of(Odd)
