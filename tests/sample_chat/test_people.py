"""The people of a room: who is here, who is writing, and what moderators see."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from tests.sample_chat.test_live import live, message_field, new_room, send
from tests.support.full import for_full_runs

pytestmark = pytest.mark.browser


def person(page: Page, name: str) -> Locator:
    """The entry of somebody among those who are here."""
    return page.get_by_role("list", name="Here now").get_by_text(name, exact=True)


def last(page: Page) -> Locator:
    """The last message of the room."""
    return page.locator("chat-message").last


def last_text(page: Page) -> Locator:
    """What the last message of the room says."""
    return last(page).locator(".text")


async def test_people_come_and_go(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "A room for two")

    await live(ada, room)
    await expect(person(ada, "Ada")).to_have_count(1)
    await live(grace, room)
    for page in (ada, grace):
        await expect(person(page, "Ada")).to_have_count(1)
        await expect(person(page, "Grace")).to_have_count(1)

    await grace.goto("/")
    await expect(person(ada, "Grace")).to_have_count(0)


async def test_writing_is_shown_to_the_others_and_ends_with_the_message(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "Writing")
    await live(ada, room)
    await live(grace, room)
    await expect(person(ada, "Grace")).to_have_count(1)
    notice = [page.locator("typing-notice") for page in (ada, grace)]

    await message_field(grace).press_sequentially("Hello")
    await expect(notice[0]).to_have_text("Grace is writing…")
    await expect(notice[1]).to_have_text("")
    await send(grace, "Hello")

    await expect(last(ada)).to_contain_text("Hello")
    await expect(notice[0]).to_have_text("")
    await message_field(grace).press_sequentially("And")  # at once
    await expect(notice[0]).to_have_text("Grace is writing…")


async def test_moderator_sees_what_members_do_not(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "A moderated room")
    await live(ada, room)
    await live(grace, room)
    await send(grace, "A rude word")
    await expect(last(ada)).to_contain_text("A rude word")
    await expect(last(grace).get_by_role("button", name="Hide")).to_have_count(0)

    await last(ada).get_by_role("button", name="Hide").click()
    await expect(last_text(grace)).to_have_text("Hidden by a moderator")
    assert "rude" not in await grace.content()
    await expect(last_text(ada)).to_have_text("A rude word")
    await grace.reload()
    await expect(last_text(grace)).to_have_text("Hidden by a moderator")
    assert "rude" not in await grace.content()

    await last(ada).get_by_role("button", name="Show again").click()
    await expect(last_text(grace)).to_have_text("A rude word")


async def test_answer_of_the_bot_grows_on_all_pages(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "Questions")
    await live(ada, room)
    await live(grace, room)

    await send(ada, "@bot the kettle")
    await expect(last_text(grace)).to_contain_text("You asked about “the kettle”")
    await grace.reload()

    for page in (ada, grace):
        await expect(last_text(page)).to_contain_text("none is there twice.")
        await expect(page.locator("[data-turbo-text]")).to_have_count(0)
    assert await last_text(ada).inner_text() == await last_text(grace).inner_text()


async def test_answer_can_be_stopped(chat, log_in):
    ada = await log_in(chat, "ada")
    await live(ada, await new_room(ada, "Too many words"))

    await send(ada, "@bot everything")
    await last(ada).get_by_role("button", name="Stop").click()

    await expect(ada.locator("[data-turbo-text]")).to_have_count(0)
    await expect(last_text(ada)).to_contain_text("You asked about")
    said = await last_text(ada).inner_text()
    assert said.count("none is there twice.") < 30


async def test_import_shows_how_far_it_is(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "Minutes")
    await live(ada, room)
    await live(grace, room)

    await ada.get_by_role("link", name="Import").click()
    await ada.get_by_label("Messages").fill("\n".join(f"Line {n}" for n in range(50)))
    await ada.get_by_role("button", name="Import").click()

    # The page may be loaded when all is done, and then announces nothing.
    await expect(ada.locator("main [data-state=finished]")).to_be_visible()
    await expect(ada.locator("main")).to_contain_text("50 of 50 messages")
    await expect(grace.locator("chat-message")).to_have_count(50)


@for_full_runs
async def test_people_of_two_processes(pair, demo, log_in):
    ada = await log_in(pair[0], "ada")
    grace = await log_in(pair[1], "grace")
    await live(ada, "/rooms/1/")
    await live(grace, "/rooms/1/")

    await expect(person(ada, "Grace")).to_have_count(1)
    await expect(person(grace, "Ada")).to_have_count(1)
    await message_field(ada).press_sequentially("Hello")
    await expect(grace.locator("typing-notice")).to_have_text("Ada is writing…")
    await grace.close()
    await expect(person(ada, "Grace")).to_have_count(0)
