"""
Run the examples of the documentation in the sample chat, and print what fails.

``python -m tests.support.examples PAGE…`` runs the blocks of each page one after the
other, in one namespace, in a process of its own. There are ``room``, ``message``,
``user``, ``request`` and ``form``, and a ``client``, in which the user is logged in. A
block called ``urls.py`` gives it URLs, templates are found by their caption, and test
cases are run. Two kinds of HTML blocks are compared, ``…`` standing for anything: one
of class ``sent`` with what was broadcast since the last one, after a comment if it is
for one audience, and one of class ``rendered`` with the template before it.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import io
import json
import os
import re
import sys
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tests.support.documents import ROOT, Block, blocks

LANGUAGES = ("python", "html", "html+django", "html+jinja", "doctest")


#: The engine of the guide on Jinja2.
JINJA2 = {
    "BACKEND": "django.template.backends.jinja2.Jinja2",
    "APP_DIRS": True,
    "OPTIONS": {"extensions": ["turbo.jinja2.TurboExtension"]},
}


def main() -> None:
    set_up()
    failures = [failure for name in sys.argv[1:] for failure in run_apart(ROOT / name)]
    print(json.dumps(failures))


def set_up() -> None:
    """Set up Django with the sample chat, an empty database, all apps and the tags."""
    sys.path.insert(0, str(ROOT / "sample_chat"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    os.environ.setdefault("SECRET_KEY", "only for these examples")
    os.environ["DATABASE"] = ":memory:"
    os.environ["DEBUG"] = "0"
    import django
    from config import settings
    from django.core.management import call_command
    from django.test.utils import setup_test_environment

    settings.INSTALLED_APPS.append("turbo.database")
    settings.TEMPLATES.append(JINJA2)
    django.setup()
    setup_test_environment()
    call_command("migrate", verbosity=0)
    forget_the_chat()


def forget_the_chat() -> None:
    """Stop the broadcasts of the sample chat, and load the tags in all templates."""
    from django.template import engines
    from django.template.loaders.locmem import Loader

    from turbo.changes.watchlist import watchlist

    for watch in list(watchlist):
        if watch.model._meta.app_label == "chat":
            watch.stop()
    tags = ["turbo.templatetags.turbo_streams", "django.templatetags.static"]
    engine = engines["django"].engine
    engine.template_builtins += engine.get_template_builtins(tags)
    engine.template_loaders.insert(0, Loader(engine, TEMPLATES))


#: The templates of the page that have a caption.
TEMPLATES: dict[str, str] = {}


def run_apart(page: Path) -> list[str]:
    """Run one page in a child process, so that its declarations end with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            failures = Page(page).run()
        except BaseException as error:
            failures = [f"{page}: {error!r}"]
        os.write(writing, json.dumps(failures).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    failures: list[str] = json.loads(text) if text else [f"{page}: died"]
    return failures


class Page:
    """One page, its namespace, and the broadcasts of its examples."""

    def __init__(self, path: Path) -> None:
        self._blocks = blocks(path, *LANGUAGES)
        self._names = namespace()
        self._sent: list[str] = []
        self._rendered = ""

    def run(self) -> list[str]:
        """Run every block, and return the failures."""
        from turbo.delivery.recorders import recording

        failures = []
        with recording(self._record, sends=False), redirect_stdout(io.StringIO()):
            for block in self._blocks:
                try:
                    self._run(block)
                except Exception as error:
                    failures.append(f"{block}: {type(error).__name__}: {error}")
        return failures

    def _record(self, name: str, data: str) -> bool:
        from turbo.delivery.audiences import by_audience

        if name != "turbo:control":
            for audience, form in by_audience(data).items():
                if audience and form:
                    self._sent.append(f"<!-- to {audience} -->")
                if form:
                    self._sent.append(form)
        return False

    def _run(self, block: Block) -> None:
        match block.language, block.kind:
            case "python", _:
                self._python(block)
            case "doctest", _:
                self._doctest(block)
            case "html+django", _:
                template = compiled(block.code)
                if name := block.caption.partition("templates/")[2]:
                    TEMPLATES[name] = block.code
                if not block.not_run and self._is_rendered(block):
                    self._rendered = self._render(template)
            case "html+jinja", _:
                jinja = compiled(block.code, "jinja2")
                if self._is_rendered(block):
                    names = dict(self._names)
                    self._rendered = str(jinja.render(names, names["request"]))
            case "html", "sent":
                sent, self._sent = self._sent, []
                compare("\n".join(sent), block.code)
            case "html", "rendered":
                compare(squeezed(self._rendered), squeezed(block.code))

    def _is_rendered(self, block: Block) -> bool:
        after = self._blocks[self._blocks.index(block) + 1 :]
        return bool(after) and after[0].kind == "rendered"

    def _render(self, template: Any) -> str:
        from django.template import RequestContext

        context = RequestContext(self._names["request"], dict(self._names))
        return str(template.render(context))

    def _python(self, block: Block) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(block.code, str(block), "exec", flags=flags)
        if block.not_run or block.included:
            return
        self._names |= module_of(block.caption)
        before = set(self._names)
        result = eval(code, self._names)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(result)
        made = {key: self._names[key] for key in set(self._names) - before}
        check_settings(made)
        run_tests(made)
        if block.caption.endswith("urls.py"):
            serve(self._names["urlpatterns"])

    def _doctest(self, block: Block) -> None:
        parser = doctest.DocTestParser()
        test = parser.get_doctest(block.code, self._names, str(block), None, 0)
        out = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        failed = runner.run(test, out=out.write, clear_globs=False).failed
        self._names |= test.globs
        if failed:
            raise AssertionError(out.getvalue())


def module_of(caption: str) -> dict[str, str]:
    """Return the names that tell a block its module."""
    path = caption if caption.endswith(".py") else "chat/streams.py"
    name = path.removesuffix(".py").replace("/", ".")
    return {"__name__": name, "__package__": name.rpartition(".")[0]}


def serve(patterns: list[Any]) -> None:
    """Add these URLs before those of the sample chat."""
    from config import urls
    from django.urls import clear_url_caches

    urls.urlpatterns[:0] = patterns
    clear_url_caches()


def namespace() -> dict[str, Any]:
    """Return the names that every example may use."""
    from chat.forms import MessageForm
    from chat.models import Message, Room
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client, RequestFactory

    import turbo

    with turbo.suppress():
        user = get_user_model().objects.create_user("ada")
        room = Room.objects.create(name="Lobby")
        message = Message.objects.create(room=room, author=user, text="Hello")
        client = Client()
        client.force_login(user)
    request = RequestFactory().get("/")
    request.user = user
    names = {name: getattr(settings, name) for name in ("BASE_DIR", "MIDDLEWARE")}
    return {
        **names,
        "turbo": turbo,
        "Message": Message,
        "Room": Room,
        "client": client,
        "form": MessageForm(),
        "message": message,
        "messages": [message],
        "request": request,
        "room": room,
        "user": user,
    }


def check_settings(names: dict[str, Any]) -> None:
    """Raise the errors that the library would raise for these settings."""
    from django.test import override_settings
    from django.utils.module_loading import import_string

    from turbo.conf import get_settings

    if "TURBO" in names:
        with override_settings(TURBO=names["TURBO"]):
            get_settings()
    for layer in names.get("CHANNEL_LAYERS", {}).values():
        import_string(layer["BACKEND"])


def run_tests(names: dict[str, Any]) -> None:
    """Run the test cases that a block declares."""
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    result = unittest.TestResult()
    classes = [value for value in names.values() if isinstance(value, type)]
    cases = [value for value in classes if issubclass(value, unittest.TestCase)]
    unittest.TestSuite(map(load, cases)).run(result)
    for test, text in [*result.failures, *result.errors]:
        raise AssertionError(f"{test}: {text}")


def compiled(code: str, engine: str = "django") -> Any:
    """Return the template of a block."""
    from django.template import engines

    found = engines[engine]
    return getattr(found, "engine", found).from_string(code)


def squeezed(html: str) -> str:
    """Return the lines of ``html`` that are not blank, without their indentation."""
    return "\n".join(line.strip() for line in html.splitlines() if line.strip())


def compare(actual: str, expected: str) -> None:
    """Raise an error unless ``actual`` matches a block, in which ``…`` is any text."""
    actual = actual.strip().replace("\n</template>", "</template>")
    pattern = re.escape(expected.strip()).replace("…", "(?s:.*?)")
    if not re.fullmatch(pattern, actual):
        raise AssertionError(f"expected\n{expected}got\n{actual}")


if __name__ == "__main__":
    main()
