"""Who a connection belongs to is read anew when it matters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User, UserManager
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import AsyncClient, Client, modify_settings, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from turbo.connections.users import (
    at_rest,
    is_pending,
    load_sessions,
    load_users,
    reload_user,
    scope_user,
    session_hash,
    with_visitor,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_scope_without_a_user_is_nobodys() -> None:
    assert scope_user({}) == AnonymousUser()
    assert scope_user({"user": None}) == AnonymousUser()
    user = User(pk=1)
    assert scope_user({"user": user}) is user


@modify_settings(INSTALLED_APPS={"remove": "django.contrib.auth"})
def test_a_site_without_accounts_has_an_anonymous_user() -> None:
    nobody, theirs = scope_user({}), AnonymousUser()

    assert str(nobody) == str(theirs)
    for name in ("pk", "id", "username", "is_authenticated", "is_anonymous"):
        assert getattr(nobody, name) == getattr(theirs, name)
    for name in ("is_active", "is_staff", "is_superuser"):
        assert getattr(nobody, name) is getattr(theirs, name) is False


def test_a_session_is_named_without_giving_it_away() -> None:
    assert session_hash(None) == session_hash("") == ""
    assert "secret" not in session_hash("secret")
    assert session_hash("a") == session_hash("a") != session_hash("b")


async def test_nobody_stays_nobody() -> None:
    nobody = AnonymousUser()

    assert await reload_user(None, nobody) is nobody


async def test_a_user_without_a_session_is_read_from_the_database() -> None:
    ann = await User.objects.acreate(username="ann", first_name="old")
    await User.objects.filter(pk=ann.pk).aupdate(first_name="new")

    held = SimpleLazyObject(lambda: ann)
    assert await reload_user(None, held) is held, "nobody has asked who it is"
    assert held.first_name == "old"
    again = await reload_user(None, held)

    assert again.first_name == "new"
    await User.objects.filter(pk=ann.pk).aupdate(is_active=False)
    assert await reload_user(None, ann) == AnonymousUser()
    await User.objects.filter(pk=ann.pk).adelete()
    assert await reload_user(None, ann) == AnonymousUser()


async def test_a_user_that_is_no_model_is_taken_as_it_is() -> None:
    user: Any = SimpleNamespace(pk="x", is_authenticated=True)

    assert await reload_user(None, user) is user


async def test_a_session_that_has_ended_yields_nobody() -> None:
    ann = await User.objects.acreate(username="ann")
    client = AsyncClient()
    await client.aforce_login(ann)
    session = SessionStore(client.cookies["sessionid"].value)

    assert await reload_user(session, ann) == ann
    await client.alogout()
    assert not (await reload_user(session, ann)).is_authenticated


def cookie(text: str) -> dict[str, Any]:
    return {"headers": [(b"host", b"x"), (b"cookie", text.encode())]}


def session_of(user: User, *, expiry: int = 60, backend: str | None = None) -> str:
    """Log ``user`` in for so many seconds; return what the cookie holds."""
    client = Client()
    client.force_login(user, backend)
    session = client.session
    session.set_expiry(expiry)
    session.save()
    return str(session.session_key)


async def test_the_user_of_a_session_is_looked_up_when_somebody_asks() -> None:
    ann = await User.objects.acreate(username="ann")
    client = AsyncClient()
    await client.aforce_login(ann)
    key = client.cookies["sessionid"].value

    scope = with_visitor(cookie(f"a=b; sessionid={key}"))

    user = scope_user(scope)
    assert scope["session"].session_key == key
    assert is_pending(user)
    assert await sync_to_async(lambda: user.is_authenticated)()
    assert not is_pending(user)
    assert user == ann


async def test_what_is_remembered_of_a_visitor_is_the_key_and_who_it_is() -> None:
    """Pages stay for hours; what their session holds need not."""
    ann = await User.objects.acreate(username="ann")
    key = await sync_to_async(session_of)(ann)
    scope = with_visitor(cookie(f"sessionid={key}"))
    session, user = scope["session"], scope_user(scope)

    assert at_rest(session, user) == (session, user), "nobody has asked who it is"
    await sync_to_async(str)(user)
    kept, known = at_rest(session, user)

    assert "_session_cache" in vars(session)
    assert (kept.session_key, "_session_cache" in vars(kept)) == (key, False)
    assert (type(known), known) == (User, ann)
    assert at_rest(kept, known) == (kept, known)
    assert await reload_user(kept, known) == ann


async def test_what_a_middleware_has_found_is_kept_as_it_is() -> None:
    session, user = object(), SimpleLazyObject(lambda: 1)

    assert at_rest(session, user) == (session, user)


async def test_a_session_that_has_ended_is_nobodys() -> None:
    user = scope_user(with_visitor(cookie("sessionid=ended")))

    assert not await sync_to_async(lambda: user.is_authenticated)()


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_sessions_are_read_together_where_only_the_database_has_them(
    engine: str,
) -> None:
    """One that has expired, or never was, is nobody's, whichever way it is read."""
    ann = User.objects.create(username="ann")
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        keys = [session_of(ann), session_of(ann), session_of(ann, expiry=-1), "never"]
        users = [scope_user(with_visitor(cookie(f"sessionid={key}"))) for key in keys]

        with CaptureQueriesContext(connection) as queries:
            load_sessions([*users, users[0], AnonymousUser(), ann])

        assert len(queries) == (engine == "db")
        assert all(is_pending(user) for user in users)
        assert [user.is_authenticated for user in users] == [True, True, False, False]
    assert users[0] == ann


class Backend(ModelBackend):
    """A backend that finds its users in a way of its own."""

    def get_user(self, user_id: Any) -> Any:
        return super().get_user(user_id)


def visitors(*keys: str) -> list[Any]:
    users = [scope_user(with_visitor(cookie(f"sessionid={key}"))) for key in keys]
    load_sessions(users)
    return users


def test_users_are_looked_up_together() -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    users = visitors(session_of(ann), session_of(bob), session_of(ann))

    with CaptureQueriesContext(connection) as queries:
        load_users([*users, AnonymousUser(), ann])

    assert len(queries) == 1
    assert not any(is_pending(user) for user in users)
    assert users == [ann, bob, ann]
    users[0].username = "changed"
    assert users[2].username == "ann", "each connection has an object of its own"


def test_whoever_is_in_doubt_is_looked_up_alone() -> None:
    """A changed password, an account that is closed or gone, a session that ended."""
    names = ("changed", "closed", "gone", "fine")
    changed, closed, gone, fine = (User.objects.create(username=n) for n in names)
    keys = [session_of(user) for user in (changed, closed, gone, fine)]
    changed.set_password("new")
    changed.save()
    User.objects.filter(pk=closed.pk).update(is_active=False)
    gone.delete()
    users = visitors(*keys, "never")

    load_users(users)

    assert [is_pending(user) for user in users] == [True, True, True, False, True]
    assert [user.is_authenticated for user in users] == [False] * 3 + [True, False]


def test_a_backend_of_ones_own_finds_its_users_itself() -> None:
    ann = User.objects.create(username="ann")
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Backend"]):
        users = visitors(session_of(ann, backend=f"{__name__}.Backend"))

        load_users(users)

        assert is_pending(users[0])
        assert users[0] == ann


def test_a_manager_of_ones_own_finds_its_users_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Strict(UserManager[User]):
        def get(self, *args: Any, **kwargs: Any) -> Any:
            raise User.DoesNotExist

    ann = User.objects.create(username="ann")
    users = visitors(session_of(ann))
    monkeypatch.setattr(type(User._default_manager), "get", Strict.get)

    load_users(users)

    assert is_pending(users[0])
    assert not users[0].is_authenticated


def test_a_backend_that_is_not_used_any_more_finds_nobody() -> None:
    ann = User.objects.create(username="ann")
    users = visitors(session_of(ann))
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Backend"]):
        load_users(users)

        assert not users[0].is_authenticated


@pytest.mark.parametrize(
    "scope", [{}, {"headers": []}, cookie("a=b"), {**cookie("sessionid=x"), "user": 1}]
)
def test_a_scope_without_a_session_stays_as_it_is(scope: dict[str, Any]) -> None:
    assert with_visitor(scope) is scope


@modify_settings(INSTALLED_APPS={"remove": "django.contrib.auth"})
def test_without_users_nobody_is_looked_up() -> None:
    scope = cookie("sessionid=x")

    assert with_visitor(scope) is scope
