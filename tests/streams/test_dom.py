"""An element's id is formed from the row that it shows."""

from __future__ import annotations

import uuid

import pytest
from django.db import models
from django.utils.functional import SimpleLazyObject

from tests.testapp.models import (
    AbstractBase,
    Child,
    CompositeItem,
    Message,
    ProxyRoom,
    Room,
    UuidItem,
)
from turbo.streams.dom import dom_id


def saved(instance: models.Model) -> models.Model:
    instance._state.adding = False
    return instance


def test_dom_id_of_a_saved_instance() -> None:
    assert dom_id(saved(Room(pk=1))) == "room_1"


def test_dom_id_with_a_prefix() -> None:
    assert dom_id(saved(Room(pk=1)), "edit") == "edit_room_1"


def test_dom_id_of_a_new_instance() -> None:
    assert dom_id(Room()) == "new_room"
    assert dom_id(Room(), "edit") == "edit_room"


def test_dom_id_of_a_class() -> None:
    assert dom_id(Message) == "new_message"
    assert dom_id(Message, "search") == "search_message"
    assert dom_id(AbstractBase) == "new_abstract_base"


def test_dom_id_of_a_new_instance_that_has_a_key_already() -> None:
    item = UuidItem()

    assert item.pk is not None
    assert dom_id(item) == "new_uuid_item"


def test_dom_id_of_a_uuid() -> None:
    key = uuid.UUID("6a6f8f1e-1d3b-4d6b-9a52-0f8b5a0b7a11")

    assert dom_id(saved(UuidItem(pk=key))) == f"uuid_item_{key}"


def test_dom_id_of_a_composite_key() -> None:
    assert dom_id(saved(CompositeItem(tenant=3, number=7))) == "composite_item_3_7"
    assert dom_id(saved(CompositeItem(tenant=3))) == "new_composite_item"


def test_dom_id_of_a_proxy_is_that_of_its_model() -> None:
    assert dom_id(saved(ProxyRoom(pk=1))) == "room_1"


def test_dom_id_of_a_child_is_its_own() -> None:
    assert dom_id(saved(Child(pk=4))) == "child_4"


def test_dom_id_of_a_lazy_object() -> None:
    assert dom_id(SimpleLazyObject(lambda: saved(Room(pk=1)))) == "room_1"


@pytest.mark.parametrize("value", ["room_1", None, 3, int])
def test_dom_id_of_anything_else(value: object) -> None:
    with pytest.raises(TypeError) as caught:
        dom_id(value)

    assert str(caught.value) == (
        f"dom_id() takes a model or an instance of one, not {value!r}. An id that is a "
        f"string already needs no dom_id()."
    )
