"""The tags of growing texts and of progress are exact HTML, with what is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.template import Context, Template, TemplateSyntaxError

from tests.support.servers import PATIENCE, wait_until
from tests.testapp.models import Room
from tests.testapp.streams import Announcements
from turbo.components import BroadcastComponent
from turbo.delivery.broadcast import flush, get_publisher, shut_down
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.replay.texts import NoTexts

SID = Announcements().stream_id
SCRIPT = '<script type="module" src="/static/turbo/text.min.js"></script>'
EMPTY = f'<div id="a" data-turbo-text="{SID}" aria-live="polite"></div>'


class Assistant(BroadcastComponent):
    class Meta:
        app_label = "testapp"

    template_name = "testapp/assistant.html"


@pytest.fixture(autouse=True)
def _no_publisher() -> Iterator[None]:
    yield
    shut_down(PATIENCE)


def page(source: str, **variables: Any) -> str:
    template = Template("{% load turbo_streams %}" + source)
    return template.render(Context(variables))


def text(options: str = "", **variables: Any) -> str:
    """Return what the tag renders behind its script."""
    html = page(
        f'{{% turbo_text "testapp:Announcements" "a" {options} %}}', **variables
    )
    assert html.startswith(SCRIPT)
    return html.removeprefix(SCRIPT)


def run(html: str) -> str:
    return html.partition('data-run="')[2].partition('"')[0]


def test_a_text_that_nobody_wrote_is_empty() -> None:
    assert text() == EMPTY


def test_a_text_that_is_being_written_is_shown_so_far() -> None:
    with Announcements().text(id="a") as answer:
        answer.write("a < b\r\n")
        assert flush(PATIENCE)
        html = text()

    assert html == (
        f'<div id="a" data-turbo-text="{SID}" data-run="{run(html)}" data-at="7" '
        'data-state="writing" aria-live="polite" aria-busy="true">'
        "a &lt; b&#13;\n</div>"
    )


def test_a_text_that_has_ended_is_shown_as_it_is() -> None:
    with Announcements().text(id="a") as answer:
        answer.write("*a*")
        answer.finish(html="<em>a</em>")
    assert flush(PATIENCE)

    html = text()

    assert html == (
        f'<div id="a" data-turbo-text="{SID}" data-run="{run(html)}" data-at="3" '
        f'data-state="finished" aria-live="polite"><em>a</em></div>'
    )


def test_a_text_whose_writer_is_gone_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Announcements().text(id="a") as answer:
        answer.write("half")
        assert flush(PATIENCE)
        monkeypatch.setattr("turbo.replay.texts.LEASE", 0.0)

        assert 'data-state="failed"' in text()


def test_attributes_of_the_page_are_added_and_escaped() -> None:
    html = text('tag="span" class=name aria_live="off" data_at="9"', name='a" b')

    assert html == (
        f'<span id="a" data-turbo-text="{SID}" aria-live="off" '
        f'class="a&quot; b" data-at="9"></span>'
    )


@pytest.mark.parametrize("tag", ["pre", "textarea"])
def test_a_first_line_break_is_kept(tag: str) -> None:
    """The parser leaves out the first one."""
    with Announcements().text(id="a") as answer:
        answer.write("\na")
        assert flush(PATIENCE)

        assert text(f'tag="{tag}"').endswith(f">\n\na</{tag}>")


@pytest.mark.parametrize("tag", ["script", "STYLE", "template"])
def test_a_text_cannot_grow_where_it_would_be_code(tag: str) -> None:
    with pytest.raises(ValueError, match="cannot grow"):
        text(f'tag="{tag}"')


def test_the_script_has_the_nonce_of_the_page() -> None:
    html = page('{% turbo_text "testapp:Announcements" "a" %}', csp_nonce="n0")

    assert html.startswith(SCRIPT.replace("></", ' nonce="n0"></'))


def test_an_instance_stands_for_its_dom_id(db: None) -> None:
    room = Room.objects.create(name="Cellar")

    html = page("{% turbo_text room room %}", room=room)

    assert f'id="room_{room.pk}" data-turbo-text="{room.stream.stream_id}"' in html


@pytest.mark.parametrize("tag", ["turbo_text", "turbo_progress"])
def test_what_is_unknown_is_named(tag: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=f"{tag}: There is no stream"):
        page(f'{{% {tag} "testapp:Nothing" "a" %}}')
    with pytest.raises(TemplateSyntaxError, match=f"{tag}: room is not defined"):
        page(f'{{% {tag} room "a" %}}')
    with pytest.raises(TemplateSyntaxError, match=f"{tag}: id is None"):
        page(f'{{% {tag} "testapp:Announcements" id %}}', id=None)


def test_a_log_that_is_away_gives_an_empty_element_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second page does not even ask."""
    now, asked = 0.0, []

    async def away(places: Any) -> Any:
        asked.append(places)
        raise ConnectionError("no log")

    texts = get_replay().texts
    read = texts.read
    texts.read = away  # type: ignore[method-assign]
    monkeypatch.setattr(get_publisher().questions, "_clock", lambda: now)

    for _ in range(20):
        assert text() == EMPTY
    assert len(asked) == 1

    texts.read = read  # type: ignore[method-assign]
    with Announcements().text(id="a") as answer:
        answer.write("a")
    assert flush(PATIENCE)
    now += 2 * PATIENCE
    wait_until(lambda: text().endswith(">a</div>"))


def test_a_log_without_texts_gives_an_empty_element(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """This is no outage, during which a text would begin without an error."""
    monkeypatch.setattr(type(get_replay()), "texts", NoTexts())

    assert text() == EMPTY
    assert "keeps no growing texts" in caplog.text
    with pytest.raises(ConfigurationError):
        Announcements().text(id="a").start()


def test_a_progress_shows_what_is_known() -> None:
    with Announcements().progress(id="job", total=9) as progress:
        progress.advance(4, note="Rake & hoe")
        assert flush(PATIENCE)
        html = page(
            '{% turbo_progress "testapp:Announcements" "job" label=name %}',
            name='a" b',
        )

    assert html == (
        f'{SCRIPT}<div id="job" data-turbo-progress="{SID}" data-run="{run(html)}" '
        'data-at="2" data-state="writing">\n'
        '  <progress aria-label="a&quot; b" value="4" max="9">44 %</progress>\n'
        "  <span data-note>Rake &amp; hoe</span>\n"
        '  <span role="status" data-finished="Finished" data-failed="Failed"></span>\n'
        "</div>\n"
    )


def test_a_progress_without_a_total_has_no_value() -> None:
    with Announcements().progress(id="job") as progress:
        progress.advance(1_234)
        assert flush(PATIENCE)

        html = page('{% turbo_progress "testapp:Announcements" "job" %}')

    assert "<progress></progress>" in html


def test_numbers_of_a_progress_are_those_of_html(settings: Any) -> None:
    settings.LANGUAGE_CODE = "de"
    settings.USE_THOUSAND_SEPARATOR = True
    with Announcements().progress(id="job", total=10_000) as progress:
        progress.advance(2_500.5)
        assert flush(PATIENCE)

        html = page('{% turbo_progress "testapp:Announcements" "job" %}')

    assert 'value="2500.5" max="10000"' in html


def test_a_text_under_the_id_of_a_progress_is_nothing() -> None:
    with Announcements().progress(id="a", total=9):
        assert flush(PATIENCE)

        assert (
            text() == f'<div id="a" data-turbo-text="{SID}" aria-live="polite"></div>'
        )


def test_a_progress_under_the_id_of_a_text_is_nothing() -> None:
    with Announcements().text(id="a") as answer:
        answer.write("a")
        assert flush(PATIENCE)

        html = page('{% turbo_progress "testapp:Announcements" "a" %}')

    assert "<progress></progress>" in html


def test_a_component_shows_its_own_text() -> None:
    with Assistant().text(id="a") as answer:
        answer.write("Hello")
        assert flush(PATIENCE)
        html = page('{% turbo_component "testapp:Assistant" %}')

    assert f'data-turbo-text="{Assistant().stream_id}"' in html
    assert ">Hello</div>" in html


def test_a_page_without_texts_loads_nothing() -> None:
    subscribe = '{% turbo_subscribe "testapp:Announcements" %}'
    html = page('{% include "turbo/head.html" %}' + subscribe)

    assert "text.min.js" not in html
