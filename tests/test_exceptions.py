"""Every error names the offender and the ways out."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from turbo import exceptions
from turbo.exceptions import (
    ActionError,
    ConfigurationError,
    DecoratorError,
    FrameError,
    NameRefused,
    TargetError,
    TextError,
    TurboError,
    UnknownStreamError,
    UnsavedInstanceError,
)

TEXTS = [
    (
        UnsavedInstanceError("chat.Room"),
        "This chat.Room instance has no primary key, so it has no stream. "
        "Save it first.",
    ),
    (
        TargetError("append"),
        "'append' needs a target: pass either id= or selector=.",
    ),
    (
        TargetError("append", ["id", "selector"]),
        "'append' was given id and selector: pass either id= or selector=.",
    ),
    (
        UnknownStreamError("chat:Rum", ["chat:Room", "chat:Hall"]),
        "There is no stream 'chat:Rum'. Known streams: chat:Hall, chat:Room.",
    ),
    (
        UnknownStreamError("chat:Rum"),
        "There is no stream 'chat:Rum'. Known streams: none (does an app have a "
        "streams.py?).",
    ),
    (
        TextError("answer", "too long", "it would have 9 characters, and may have 8"),
        "'answer' would become too long: it would have 9 characters, and may have 8.",
    ),
    (NameRefused("forged"), "The signed stream name was refused: forged."),
    (FrameError("malformed", "Not JSON."), "malformed: Not JSON."),
]


@pytest.mark.parametrize(("error", "text"), TEXTS)
def test_text(error: Exception, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ConfigurationError, ImproperlyConfigured),
        (DecoratorError, ConfigurationError),
        (DecoratorError, ValueError),
        (UnsavedInstanceError, ValueError),
        (TargetError, ValueError),
        (ActionError, ValueError),
        (UnknownStreamError, LookupError),
        (NameRefused, ValueError),
        (FrameError, ValueError),
    ],
)
def test_children_inherit_the_fitting_builtin(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(kind, TurboError)
    assert issubclass(kind, builtin)


def test_action_error_names_the_name_and_what_is_allowed() -> None:
    text = str(ActionError("on click", "attribute"))

    assert text.startswith("'on click' is not a valid attribute name.")
    assert "ASCII letters" in text


def test_all_lists_every_error() -> None:
    errors = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, TurboError)
    }

    assert set(exceptions.__all__) == errors
