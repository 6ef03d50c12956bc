"""The command, the system checks, and the app."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

import turbo.bindings
from tests.bindings.app.bindings import StoreProducts
from tests.bindings.app.models import Product
from tests.bindings.conftest import Bind
from tests.support.servers import PATIENCE, ROOT, Project
from tests.testapp.models import Tag
from turbo.bindings import BindingConsumer
from turbo.bindings.checks import (
    check_consumers,
    check_names,
    check_prefix,
    check_querysets,
    check_store,
)


def command(*arguments: str) -> list[str]:
    output = io.StringIO()
    call_command("turbo_bindings", *arguments, stdout=output)
    return output.getvalue().splitlines()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("store")
class TestCommand:
    LABEL = "bindings_app:StoreProducts"

    def test_list(self) -> None:
        Product.objects.create(name="Tea")
        before = command("list", self.LABEL)
        StoreProducts().all()
        [after] = command("list", self.LABEL)

        assert before == [f"{self.LABEL}: not cached"]
        assert after.startswith(
            f"{self.LABEL}: version {StoreProducts().version}, 1 rows"
        )

    def test_list_names_parameters_and_other_code(self, bind: Bind) -> None:
        cls = bind(
            Product, params=["stock"], filters=lambda self: {"stock": self.stock}
        )
        cls(stock=3).all()
        [ours] = command("list", "tests:Bound")
        bind(Product, revision=2)
        [theirs] = command("list", "tests:Bound")

        assert ours.startswith("tests:Bound(stock=3): version ")
        assert theirs == "tests:Bound: cached by other code"

    def test_sync_repairs_what_bypassed_django(self) -> None:
        tea = Product.objects.create(name="Tea")
        StoreProducts().all()
        Product.objects.filter(pk=tea.pk).update(name="Coffee")

        synced = command("sync", self.LABEL)

        assert synced == [f"{self.LABEL}: 1 changes"]
        assert StoreProducts().get(tea.pk).name == "Coffee"

    def test_bump_and_clear(self) -> None:
        version = StoreProducts().version

        [bumped] = command("bump", self.LABEL)
        [cleared] = command("clear", self.LABEL)

        assert bumped == f"{self.LABEL}: version {version.partition(':')[0]}:2"
        assert cleared == f"{self.LABEL}: cleared"
        assert command("list", self.LABEL) == [f"{self.LABEL}: not cached"]

    def test_all_are_meant_without_a_label(self) -> None:
        lines = command("list")

        assert [line for line in lines if line.startswith("bindings_app:")] == [
            "bindings_app:Alphabet: not cached",
            "bindings_app:Ranking: not cached",
            "bindings_app:StoreProducts: not cached",
        ]

    def test_an_unknown_label_is_named(self) -> None:
        with pytest.raises(
            CommandError, match=r"no binding 'shop:What'\. Known bindings: "
        ):
            command("list", "shop:What")


def test_the_command_says_that_redis_is_away() -> None:
    hosts = {"BINDINGS": {"HOSTS": ["redis://127.0.0.1:1"], "TIMEOUT": 0.2}}

    with (
        override_settings(TURBO=hosts),
        pytest.raises(CommandError, match="store is unreachable"),
    ):
        command("list")


def test_another_process_hears_of_a_save(make_project: Any) -> None:
    """The bindings are discovered in a shell, so its saves are followed."""
    project: Project = make_project("redis")
    project.shell("from tests.bindings.app.bindings import *; StoreProducts().all()")

    project.shell("from tests.bindings.app.models import *; Product(name='Tea').save()")

    listed = project.manage("turbo_bindings", "list", "bindings_app:StoreProducts")
    assert ", 1 rows, " in listed


def test_settings_are_checked() -> None:
    with override_settings(TURBO={"BINDINGS": {"WHAT": 1}}):
        [unknown] = check_store()
    with override_settings(TURBO={"BINDINGS": {"HOSTS": "redis://localhost"}}):
        [hosts] = check_store()
    with override_settings(TURBO={"BINDINGS": {"BACKEND": "json.JSONDecoder"}}):
        [backend] = check_store()

    assert {unknown.id, hosts.id, backend.id} == {"turbo.E060"}
    assert "has no setting 'WHAT'" in unknown.msg
    assert "pass a list of Redis hosts" in hosts.msg
    assert "is not a Store" in backend.msg
    assert check_store() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"HOSTS": ["redis://localhost"]}, ["turbo.W063"]),
        ({"HOSTS": [{"host": "localhost", "port": 6379}]}, ["turbo.W063"]),
        ({"HOSTS": ["redis://localhost"], "PREFIX": "shop"}, []),
        ({"HOSTS": ["redis://localhost/2"]}, []),
        ({"HOSTS": "redis://localhost"}, []),  # check_store has told
        ({}, []),
    ],
)
def test_a_prefix_that_others_may_have_is_told_before_deployment(
    settings: dict[str, Any], expected: list[str]
) -> None:
    with override_settings(TURBO={"BINDINGS": settings}):
        assert [message.id for message in check_prefix()] == expected


def test_a_slice_must_depend_on_itself(bind: Bind) -> None:
    def get_queryset(self: Any) -> Any:
        return Product.objects.order_by("-stock")[:3]

    bad = bind(Product, "Bad", get_queryset=get_queryset)
    bind(Product, "Good", get_queryset=get_queryset, depends_on=[Product])

    [message] = check_querysets()

    assert (message.id, message.obj) == ("turbo.E061", bad)
    assert message.hint == ("Name the model itself: depends_on = [Product].")


def test_a_binding_in_another_module_is_told(
    bind: Bind, caplog: pytest.LogCaptureFixture
) -> None:
    bind(Product, "Strayed", __module__="shop.views")

    [message] = caplog.messages
    assert message.startswith("shop.views.Strayed was declared after")
    assert message.endswith(
        "Declare it in the bindings.py of an installed app, or import it there."
    )


def test_a_name_that_nothing_reads_is_told(bind: Bind) -> None:
    """Without a filter, the binding would have all rows."""
    bad = bind(Product, filter={"venue": "online"})

    class Open(BindingConsumer):
        def user_passes_tests(self, user: Any) -> bool:
            return False

    assert {(m.id, m.obj) for m in check_names()} == {
        ("turbo.W016", bad),
        ("turbo.W016", Open),
    }


def test_methods_of_django_binding_that_nothing_calls_are_told(bind: Bind) -> None:
    bound = bind(
        Product,
        message=lambda self, action, data: None,
        serialize_object=lambda self, obj: obj.pk,
        get_lookup_field=lambda self: "slug",
    )

    told = {m.msg.split("'")[1]: m.hint for m in check_names() if m.obj is bound}

    assert told == {
        "message": "Write on_save and on_delete of a model stream.",
        "serialize_object": "Set serializer_class.",
        "get_lookup_field": "Rows have their primary keys; look up others with all().",
    }


def test_a_consumer_should_say_who_may_listen() -> None:
    class Open(BindingConsumer):
        pass

    class Closed(BindingConsumer):
        def user_passes_test(self, user: Any) -> bool:
            return False

    warned = [message.obj for message in check_consumers()]

    assert Open in warned
    assert Closed not in warned


def test_the_public_names_are_sorted_and_there() -> None:
    names = turbo.bindings.__all__

    assert names == sorted(names)
    assert all(getattr(turbo.bindings, name) for name in names)


def test_import_needs_no_rest_framework() -> None:
    """``import turbo.bindings`` works where the extra is not installed."""
    settings = {"INSTALLED_APPS": ["turbo", "turbo.bindings"]}
    code = (
        "import sys; sys.modules['rest_framework'] = None;"
        "import django; django.setup(); import turbo.bindings;"
        "print(turbo.bindings.Binding.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TURBO_TEST_SETTINGS": json.dumps(settings),
            "PATH": "",
        },
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )

    assert done.stdout.strip() == "Binding", done.stderr


def test_two_bindings_of_one_name_in_two_modules_are_refused(bind: Bind) -> None:
    bind(Product, "Twice")

    with pytest.raises(
        turbo.exceptions.ConfigurationError, match="called 'tests:Twice'"
    ):
        bind(Product, "Twice", __module__="tests.elsewhere")


def test_two_bindings_of_one_name_for_two_models_are_refused(bind: Bind) -> None:
    """The first would not be kept up to date any more."""
    bind(Product, "Twice")

    with pytest.raises(
        turbo.exceptions.ConfigurationError,
        match=r"for bindings_app\.Product, one in .* for testapp\.Tag",
    ):
        bind(Tag, "Twice")


def test_a_viewset_of_another_kind_has_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'What'"):
        _ = turbo.bindings.What  # type: ignore[attr-defined]
