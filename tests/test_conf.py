"""The settings are one dict, read at call time."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest
from django.test import override_settings

from turbo.conf import get_settings, layer_config, section_reader
from turbo.exceptions import ConfigurationError


def test_defaults_are_the_documented_numbers() -> None:
    with override_settings(TURBO={}):
        settings = get_settings()

    assert (settings.replay_length, settings.replay_age) == (100, 300)
    assert settings.signed_name_max_age == 86_400
    assert settings.recheck_interval == 60
    assert settings.queue_bytes == 1_048_576
    assert settings.tip_interval == 15


def test_a_key_replaces_its_default() -> None:
    with override_settings(TURBO={"MAX_STREAMS": 7}):
        assert get_settings().max_streams == 7

    assert get_settings().max_streams == 100


def test_the_dict_may_be_absent(settings: pytest.FixtureRequest) -> None:
    del settings.TURBO

    assert get_settings().max_streams == 100


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        get_settings().max_streams = 3  # type: ignore[misc]


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    told = pytest.raises(ConfigurationError, match=r"'MAX_STREMS'.*MAX_STREAMS")

    with override_settings(TURBO={"MAX_STREMS": 7}), told:
        get_settings()


def test_another_setting_changes_nothing() -> None:
    before = get_settings()

    with override_settings(USE_TZ=False):
        assert get_settings() is before


def test_layer_config_is_the_named_layer() -> None:
    layers = {"default": {"BACKEND": "a"}, "live": {"BACKEND": "b"}}

    with override_settings(CHANNEL_LAYERS=layers, TURBO={"CHANNEL_LAYER": "live"}):
        assert layer_config() == {"BACKEND": "b"}
    with override_settings(CHANNEL_LAYERS={}):
        assert layer_config() == {}


@dataclass(frozen=True, kw_only=True)
class Shown:
    host: str = "here"
    port: int = 1


def test_a_section_is_read_once_and_again_after_a_change() -> None:
    read = section_reader("PUBSUB", Shown)
    with override_settings(TURBO={"PUBSUB": {"PORT": 2}}):
        assert read() == Shown(port=2)
        assert read() is read()

    assert read() == Shown()


def test_a_section_is_converted_once() -> None:
    converted = []

    def convert(given: Shown) -> Shown:
        converted.append(given)
        return replace(given, host="there")

    read = section_reader("PUBSUB", Shown, convert)

    assert [read(), read()] == [Shown(host="there")] * 2
    assert converted == [Shown()]


def test_an_unknown_key_of_a_section_is_refused_each_time() -> None:
    read = section_reader("PUBSUB", Shown)

    with override_settings(TURBO={"PUBSUB": {"PROT": 2}}):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"TURBO\['PUBSUB'\].*'PROT'"):
                read()
