# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The Playwright helpers in a real Chromium on a local site.

Profiles are brought from one directory to another as a save and a load would.
"""

import asyncio
import json
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import scan, transfer
from daemon import Daemon
from playwright.async_api import BrowserContext, async_playwright
from playwright.sync_api import sync_playwright

from cloakroom import Client, install, sync
from cloakroom import playwright as helpers
from cloakroom.capture import Capture, running_browser
from cloakroom.errors import LocalError, NotAProfileWarning, NotFound, StorageStateWarning, Unavailable
from cloakroom.playwright import PORTABLE_FLAGS, mend, session_cookies
from cloakroom.tree import walk

OPTIONS: dict[str, Any] = {"headless": True, "chromium_sandbox": False, "args": ["--disable-gpu"]}
LOG_IN = """async () => {
  localStorage.setItem("token", "kept");
  await new Promise((done, failed) => {
    const opening = indexedDB.open("app", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("things");
    opening.onerror = failed;
    opening.onsuccess = () => {
      const writing = opening.result.transaction("things", "readwrite");
      writing.objectStore("things").put("kept", "key");
      writing.oncomplete = done;
    };
  });
}"""
LOOK = """async () => {
  const record = await new Promise((done) => {
    const opening = indexedDB.open("app", 1);
    opening.onupgradeneeded = () => { opening.transaction.abort(); };
    opening.onerror = () => done(null);
    opening.onsuccess = () => {
      const reading = opening.result.transaction("things").objectStore("things").get("key");
      reading.onsuccess = () => done(reading.result);
    };
  });
  return [localStorage.getItem("token"), record, document.body.innerText];
}"""


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/login":
            self.send_header("Set-Cookie", "lasting=kept; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400")
            self.send_header("Set-Cookie", "passing=kept; Path=/; HttpOnly; SameSite=Lax")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        cookies = "; ".join(sorted((self.headers["Cookie"] or "").split("; ")))
        self.wfile.write(f"<body>{cookies}</body>".encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="session")
def chromium() -> str:
    found = os.environ.get("CLOAKROOM_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "install chromium, or set CLOAKROOM_TEST_CHROMIUM to its path: these tests drive a real browser"
    return found


def move(source: Path, target: Path) -> None:
    """What a save and a load on another machine do."""
    loader = transfer(source, walk(source, Capture("lean"), {}), target)
    install.complete(target, loader.loaded(), None)


class Pretender:
    """A browser that only notes the cookies that it is given."""

    name = "firefox"

    def __init__(self) -> None:
        self.given = list[str]()

    def launch_persistent_context(self, *_: object, **__: object) -> Any:
        return self

    def add_cookies(self, cookies: list[Any]) -> None:
        self.given += [f"{cookie['name']}={cookie['value']}" for cookie in cookies]


class AsyncPretender:
    """The same for asyncio."""

    name = "firefox"

    def __init__(self) -> None:
        self._inner = Pretender()
        self.given = self._inner.given

    async def launch_persistent_context(self, *_: object, **__: object) -> Any:
        return self

    async def add_cookies(self, cookies: list[Any]) -> None:
        self._inner.add_cookies(cookies)


def state_of(value: str) -> bytes:
    """One cookie that a profile keeps, and one that it does not."""
    common = {"value": value, "domain": "a.test", "path": "/", "httpOnly": True, "secure": False, "sameSite": "Lax"}
    cookies = [{"name": "passing", "expires": -1, **common}, {"name": "lasting", "expires": 1_900_000_000, **common}]
    return json.dumps({"cookies": cookies, "origins": []}).encode()


@asynccontextmanager
async def browser(chromium: str, profile: Path, state: bytes | None = None) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as playwright:
        context = await helpers.launch(
            playwright.chromium, profile, storage_state=state, executable_path=chromium, **OPTIONS
        )
        try:
            yield context
        finally:
            await context.close()


async def test_a_login_moves_with_its_session_cookie(chromium: str, site: str, tmp_path: Path) -> None:
    async with browser(chromium, tmp_path / "a") as context:
        page = await context.new_page()
        await page.goto(f"{site}/login")
        await page.evaluate(LOG_IN)
        assert running_browser(tmp_path / "a")
        state = await helpers.capture(context)
    assert not running_browser(tmp_path / "a")
    captured = json.loads(state)
    assert {cookie["name"] for cookie in captured["cookies"]} == {"lasting", "passing"}
    assert [cookie["name"] for cookie in session_cookies(state)] == ["passing"]
    assert captured["origins"][0]["localStorage"], "the storage state alone would do for localStorage too"

    move(tmp_path / "a", tmp_path / "b")
    async with browser(chromium, tmp_path / "b", state) as context:
        page = await context.new_page()
        await page.goto(f"{site}/")
        assert await page.evaluate(LOOK) == ["kept", "kept", "lasting=kept; passing=kept"]
        again = json.loads(await helpers.capture(context))
    plain = [{**cookie, "expires": cookie["expires"] == -1} for cookie in again["cookies"]]
    assert sorted(plain, key=lambda cookie: str(cookie["name"])) == sorted(
        [{**cookie, "expires": cookie["expires"] == -1} for cookie in captured["cookies"]],
        key=lambda cookie: str(cookie["name"]),
    )

    move(tmp_path / "b", tmp_path / "c")
    async with browser(chromium, tmp_path / "c") as context:
        page = await context.new_page()
        await page.goto(f"{site}/")
        assert await page.evaluate(LOOK) == ["kept", "kept", "lasting=kept"], "without the state, Chromium has lost it"


async def test_a_session_is_opened_where_nothing_else_is(chromium: str, site: str, tmp_path: Path) -> None:
    running = Daemon(tmp_path / "data")
    options: dict[str, Any] = {"executable_path": chromium, **OPTIONS}
    try:
        async with Client(running.target) as client, async_playwright() as playwright:
            session, other = [(await client.sessions.create("b")).session.id for _ in range(2)]
            (tmp_path / "a").mkdir()
            context = await helpers.open_context(client, session, playwright.chromium, tmp_path / "a", **options)
            await (await context.new_page()).goto(f"{site}/login")
            state = await helpers.capture(context)
            await context.close()
            await client.save(session, tmp_path / "a", storage_state=state)

            async def text(where: str, **more: Any) -> str:
                place = tmp_path / where
                context = await helpers.open_context(client, session, playwright.chromium, place, **more, **options)
                page = await context.new_page()
                await page.goto(f"{site}/")
                shown = await page.inner_text("body")
                await context.close()
                return shown

            (tmp_path / "b").mkdir()
            for where in ("absent", "b", "a"):  # into nothing, an empty directory, and one of this session
                assert await text(where) == "lasting=kept; passing=kept"
            with pytest.raises(LocalError) as caught:
                await text("b")
            assert caught.value.reason == "UNSAVED_CHANGES", "a browser ran on it since"
            (tmp_path / "mine").mkdir()
            (tmp_path / "mine" / "f").write_bytes(b"mine")
            (tmp_path / "p").mkdir()
            (tmp_path / "p" / "f").write_bytes(b"theirs")
            await client.save(other, tmp_path / "p")
            for where, asked in (("mine", {}), ("p", {}), ("b", {"replace": False})):
                before = scan(tmp_path / where)
                with pytest.raises(LocalError) as caught:
                    await text(where, **asked)
                assert caught.value.reason == "TARGET_EXISTS"
                assert scan(tmp_path / where) == before
            assert await text("mine", replace=True) == "lasting=kept; passing=kept"
            fresh = (await client.sessions.create("b")).session.id
            with pytest.raises(LocalError, match=f"is the profile of session {other}: choose another") as caught:
                await helpers.open_context(client, fresh, playwright.chromium, tmp_path / "p", replace=True, **options)
            assert caught.value.reason == "TARGET_EXISTS"
            (tmp_path / "empty").mkdir()
            with pytest.raises(NotFound):
                await helpers.open_context(client, "never-was", playwright.chromium, tmp_path / "empty", **options)
            assert list((tmp_path / "empty").iterdir()) == [], "it is still there"
    finally:
        running.stop()


def test_the_synchronous_helper_opens_a_session(chromium: str, site: str, tmp_path: Path) -> None:
    running = Daemon(tmp_path / "data")
    options: dict[str, Any] = {"executable_path": chromium, **OPTIONS}
    try:
        with sync.Client(running.target) as client, sync_playwright() as playwright:
            session = client.sessions.create("b").session.id
            context = helpers.open_context_sync(client, session, playwright.chromium, tmp_path / "a", **options)
            context.new_page().goto(f"{site}/login")
            state = helpers.capture_sync(context)
            context.close()
            client.save(session, tmp_path / "a", storage_state=state)
            context = helpers.open_context_sync(client, session, playwright.chromium, tmp_path / "b", **options)
            page = context.new_page()
            page.goto(f"{site}/")
            assert page.inner_text("body") == "lasting=kept; passing=kept"
            context.close()
    finally:
        running.stop()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "data")
    yield running
    running.stop()


async def opened(client: Client, session: str, place: Path, **options: Any) -> None:
    """Opens a context in both ways, of which the second meets what the first left."""
    pretender: Any = AsyncPretender()
    await helpers.open_context(client, session, pretender, place, **options)
    waiting: Any = Pretender()

    def again() -> None:
        with sync.Client(client._connection.target) as other:
            helpers.open_context_sync(other, session, waiting, place, **options)

    await asyncio.to_thread(again)


async def saved(client: Client, session: str, place: Path, **options: Any) -> None:
    place.mkdir()
    for name in ("prefs.js", "cookies.sqlite", "other"):
        (place / name).write_bytes(name.encode())
    (place / "storage" / "empty").mkdir(parents=True)
    (place / "link").symlink_to("prefs.js")
    await client.save(session, place, **options)


def overwritten(top: Path) -> None:
    (top / "cookies.sqlite").write_bytes(b"a login")


def added(top: Path) -> None:
    (top / "logins.json").write_bytes(b"a login")


def removed(top: Path) -> None:
    (top / "other").unlink()


def led_elsewhere(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("other")


def became_a_directory(top: Path) -> None:
    (top / "other").unlink()
    (top / "other").mkdir()


def saved_over(top: Path) -> None:
    """The same content; only the time tells."""
    (top / "prefs.js").write_bytes((top / "prefs.js").read_bytes())


@pytest.mark.parametrize(
    "change", [overwritten, added, removed, led_elsewhere, became_a_directory, saved_over], ids=lambda one: one.__name__
)
async def test_what_was_not_saved_does_not_give_way(change: Any, daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        await saved(client, session, top)
        await opened(client, session, top)  # what was saved does
        head = scan(top)
        change(top)
        before, note = scan(top), (tmp_path / "p.cloakroom.json").read_bytes()
        with pytest.raises(LocalError, match="p was changed since it was loaded or saved, and that is not") as caught:
            await opened(client, session, top)
        assert caught.value.reason == "UNSAVED_CHANGES"
        assert "save it (client.save), or say replace=True to throw it away" in caught.value.message
        assert (scan(top), (tmp_path / "p.cloakroom.json").read_bytes()) == (before, note)
        await opened(client, session, top, replace=True)
        assert scan(top) == head
        change(top)
        before = scan(top)
        await client.save(session, top)
        await opened(client, session, top)
        assert scan(top) == before, "what was saved is clean again"


async def test_the_synchronous_helper_keeps_what_was_not_saved(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        await saved(client, session, top)
        added(top)

        def again() -> None:
            pretender: Any = Pretender()
            with sync.Client(daemon.target) as other:
                helpers.open_context_sync(other, session, pretender, top)

        with pytest.raises(LocalError) as caught:
            await asyncio.to_thread(again)
        assert caught.value.reason == "UNSAVED_CHANGES"
        assert (top / "logins.json").read_bytes() == b"a login"


@pytest.mark.parametrize(("policy", "gives_way"), [("default", True), ("lean", True), ("full", False)])
async def test_what_does_not_travel_may_go(policy: str, gives_way: bool, daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        await saved(client, session, top, policy=policy)
        (top / "storage" / "Cache").mkdir()
        (top / "storage" / "Cache" / "f").write_bytes(b"from the network")
        (top / "SingletonLock").symlink_to("elsewhere-1")  # of a dead browser
        if gives_way:
            await opened(client, session, top)
            assert not (top / "storage" / "Cache").exists()
            return
        with pytest.raises(LocalError) as caught:
            await opened(client, session, top)
        assert caught.value.reason == "UNSAVED_CHANGES", "under this policy it travels"


async def test_what_a_save_was_told_to_leave_out_is_not_new(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        (top / "big" / "deep").mkdir(parents=True)
        for place in ("prefs.js", "dump.bin", "big/deep/f"):
            (top / place).write_bytes(b"x")
        await asyncio.sleep(0.02)  # more than a tick of the file system's clock
        await client.save(session, top, exclude=["*.bin", "/big/**"])
        (top / "big" / "more").mkdir()
        await opened(client, session, top)
        assert not (top / "big").exists(), "it is what was saved, and no more"
        await client.save(session, top, exclude=["/big/**"])
        (top / "big" / "deep").mkdir(parents=True)
        (top / "big" / "deep" / "g").write_bytes(b"a login")
        with pytest.raises(LocalError) as caught:
            await opened(client, session, top)
        assert caught.value.reason == "UNSAVED_CHANGES"


async def test_a_live_browser_keeps_its_directory(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        await saved(client, session, top)
        (top / "SingletonLock").symlink_to(f"{socket.gethostname()}-{os.getpid()}")
        with pytest.raises(LocalError) as caught:
            await opened(client, session, top)
        assert caught.value.reason == "PROFILE_BUSY"
        assert (top / "SingletonLock").is_symlink()


async def test_a_first_login_that_was_not_saved_is_told_what_to_do_with(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session, top = (await client.sessions.create("b")).session.id, tmp_path / "p"
        top.mkdir()
        added(top)
        for options in ({}, {"replace": True}, {"replace": False}):
            with pytest.raises(LocalError) as caught:
                await opened(client, session, top, **options)
            assert str(caught.value) == (
                f"nothing was saved in session {session} yet, and {top} holds something: save it if that is the login, "
                "or launch on it, or choose another directory [TARGET_EXISTS]"
            )
            assert (top / "logins.json").read_bytes() == b"a login"
        with pytest.warns(NotAProfileWarning):
            await client.save(session, top)  # the advice holds
        await opened(client, session, top)


async def test_wrong_arguments_are_named_before_anything_is_loaded(
    daemon: Daemon, chromium: str, tmp_path: Path
) -> None:
    right, top = AsyncPretender(), tmp_path / "p"
    top.mkdir()
    async with Client(daemon.target) as client, async_playwright() as playwright:
        session = (await client.sessions.create("b")).session.id
        good: list[Any] = [client, session, right, top]
        whole: Any = playwright
        for wrong, options, name in (
            ([session, client, right, top], {}, "client"),
            ([sync.Client, session, right, top], {}, "client"),
            ([client, right, session, top], {}, "session_id"),
            ([client, session, top, right], {}, "browser_type"),
            ([client, session, whole, top], {}, "browser_type"),
            ([client, session, Pretender(), top], {}, "browser_type"),
            ([client, session, right, None], {}, "directory"),
            (good, {"replace": "yes"}, "replace"),
            (good, {"snapshot_id": None}, "snapshot_id"),
            (good, {"storage_state": "state.json"}, "storage_state"),
        ):
            with pytest.raises(LocalError, match=f"^{name} is ") as caught:
                await helpers.open_context(*wrong, **options)
            assert caught.value.reason == "INVALID_FIELD"
            assert caught.value.violations[0][0] == name
        with pytest.raises(LocalError, match="browser_type is of type Playwright: it must be a browser type of"):
            await helpers.launch(whole, top)
        browser: Any = await playwright.chromium.launch(executable_path=chromium, **OPTIONS)
        page: Any = await browser.new_page()
        for thing in (browser, page):
            with pytest.raises(LocalError, match="it must be a browser context, such as open_context gives"):
                await helpers.capture(thing)
            with pytest.raises(LocalError, match=r"^context is of type"):
                helpers.restore_sync(thing, None)
        assert json.loads(await helpers.capture(page.context))["cookies"] == []
        await browser.close()
        async with client.mount(session, root=tmp_path / "mounts") as mount:
            browser_type: Any = right
            with pytest.raises(LocalError, match=r"^storage_state is given: it must be left out"):
                await mount.open_context(browser_type, storage_state=b"{}")
    assert (right.given, list(top.iterdir())) == ([], [])
    twin: Any = sync.Client(daemon.target)
    with twin, pytest.raises(LocalError, match=r"^client is of type Client: it must be a cloakroom\.Client"):
        await helpers.open_context(twin, session, good[2], top)


async def test_a_mounted_session_is_not_touched_between_two_browsers(
    chromium: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Daemon(tmp_path / "data")
    options: dict[str, Any] = {"executable_path": chromium, **OPTIONS}
    try:
        async with Client(running.target) as client, async_playwright() as playwright:
            session = (await client.sessions.create("b")).session.id
            async with client.mount(session, root=tmp_path) as mount:
                context = await mount.open_context(playwright.chromium, **options)
                await (await context.new_page()).goto(f"{site}/login")
                state = await helpers.capture(context)
                await context.close()
                await mount.save(storage_state=state)
                first = mount.directory

            def times() -> dict[str, tuple[int, int, int]]:
                found = [(str(path), path.lstat()) for path in first.rglob("*")]
                return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in found}

            before = times()
            monkeypatch.setattr(install, "Space", lambda _: pytest.fail("a workspace was made"))
            async with client.mount(session, root=tmp_path) as mount:
                assert mount.directory == first and mount.content_bytes == 0
                assert times() == before, "caches included"
                context = await mount.open_context(playwright, **options)
                page = await context.new_page()
                await page.goto(f"{site}/")
                assert await page.inner_text("body") == "lasting=kept; passing=kept"
                await context.close()
    finally:
        running.stop()


async def test_open_context_put_state(tmp_path: Path) -> None:
    running = Daemon(tmp_path / "data")
    try:
        async with Client(running.target) as client:
            session = (await client.sessions.create("b")).session.id
            (tmp_path / "p").mkdir()

            def opened_sync(place: Path, options: dict[str, Any]) -> list[str]:
                pretender: Any = Pretender()
                with sync.Client(running.target) as waiting:
                    helpers.open_context_sync(waiting, session, pretender, place, **options)
                    given: list[str] = pretender.given
                    with waiting.mount(session, root=tmp_path / "mounts", **options) as mount:
                        mounted: Any = Pretender()
                        mount.open_context(mounted)
                assert mounted.given == given
                return given

            async def opened(**options: Any) -> list[str]:
                browser: Any = AsyncPretender()
                await helpers.open_context(client, session, browser, tmp_path / "p", **options)
                assert await asyncio.to_thread(opened_sync, tmp_path / "q", options) == browser.given
                async with client.mount(session, root=tmp_path / "mounts", **options) as mount:
                    mounted: Any = AsyncPretender()
                    await mount.open_context(mounted)
                assert mounted.given == browser.given
                given: list[str] = browser.given
                return given

            async def save(state: bytes | None = None) -> str:
                (tmp_path / "p" / "prefs.js").write_bytes(os.urandom(8))
                return (await client.save(session, tmp_path / "p", storage_state=state)).snapshot.id

            assert await opened() == [], "nothing yet"
            await client.sessions.storage_state.put(session, state_of("put"))
            assert await opened() == ["passing=put", "lasting=put"], "a fresh profile has no cookie of its own"
            assert (tmp_path / "p").is_dir(), "the empty directory is there, for the browser"
            bare = await save()
            assert await opened() == ["passing=put"], "the profile has the other one"
            good = await save(state_of("saved"))
            assert await opened() == ["passing=saved"]
            with pytest.warns(StorageStateWarning):
                await save()
            assert await opened() == [], "what came with the snapshot before is older than the profile"
            await save(state_of("saved too"))
            await client.sessions.storage_state.put(session, state_of("newer"))
            assert await opened() == ["passing=saved too"], "what was saved with the profile is of the same moment"
            assert await opened(snapshot_id=bare) == [], "what was put since is not of a former snapshot"
            await opened()
            with pytest.warns(StorageStateWarning):
                await save()
            assert await opened() == ["passing=newer"], "but it is of a head that has none"

            await client.restore(session, snapshot_id=good)
            assert await opened() == ["passing=saved"]
            with pytest.warns(StorageStateWarning):
                await save()
            assert await opened() == [], "what came with a restore is older than the profile too"
    finally:
        running.stop()


async def test_a_fresh_context_that_refuses_its_cookies_is_closed(tmp_path: Path) -> None:
    class Refusing(Pretender):
        closed = False

        def add_cookies(self, cookies: list[Any]) -> None:
            raise ValueError(f"{len(cookies)} cookies")

        def close(self) -> None:
            self.closed = True

    class AsyncRefusing(AsyncPretender):
        def __init__(self) -> None:
            self._inner: Refusing = Refusing()

        async def close(self) -> None:
            self._inner.close()

    running = Daemon(tmp_path / "data")
    try:
        async with Client(running.target) as client:
            session = (await client.sessions.create("b")).session.id
            await client.sessions.storage_state.put(session, state_of("put"))
            browser: Any = AsyncRefusing()
            with pytest.raises(ValueError, match="2 cookies"):
                await helpers.open_context(client, session, browser, tmp_path / "p")
            assert browser._inner.closed

        def synchronous() -> bool:
            browser: Any = Refusing()
            with sync.Client(running.target) as waiting, pytest.raises(ValueError, match="2 cookies"):
                helpers.open_context_sync(waiting, session, browser, tmp_path / "p")
            return bool(browser.closed)

        assert await asyncio.to_thread(synchronous)
    finally:
        running.stop()


async def test_an_empty_directory_is_there_again_when_nothing_came(tmp_path: Path) -> None:
    running = Daemon(tmp_path / "data")
    try:
        async with Client(running.target, patience=0.5, timeout=2) as client:
            session = (await client.sessions.create("b")).session.id
            (tmp_path / "p").mkdir()
            browser: Any = AsyncPretender()
            with pytest.raises(NotFound):
                await helpers.open_context(client, "never-was", browser, tmp_path / "p")
            assert list((tmp_path / "p").iterdir()) == []
            real = client.load

            async def load(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await real(*args, **kwargs)
                finally:
                    running.kill()

            client.load = load  # type: ignore[method-assign]
            with pytest.raises(Unavailable):  # it is fresh, but whether a storage state was put nobody says
                await helpers.open_context(client, session, browser, tmp_path / "p")
            assert list((tmp_path / "p").iterdir()) == []
    finally:
        running.kill()


async def test_a_profile_of_a_killed_browser_still_opens(chromium: str, site: str, tmp_path: Path) -> None:
    profile = tmp_path / "a"
    async with browser(chromium, profile) as context:
        page = await context.new_page()
        await page.goto(f"{site}/login")
        await page.evaluate(LOG_IN)
    preferences = profile / "Default" / "Preferences"
    broken = json.loads(preferences.read_text())
    broken["profile"] |= {"exit_type": "Crashed", "exited_cleanly": False}
    preferences.write_text(json.dumps(broken))
    move(profile, tmp_path / "b")
    async with browser(chromium, tmp_path / "b") as context:
        page = await context.new_page()
        await page.goto(f"{site}/")
        assert (await page.evaluate(LOOK))[:2] == ["kept", "kept"]
    assert json.loads((tmp_path / "b" / "Default" / "Preferences").read_text())["profile"]["exit_type"] == "Normal"


async def test_the_synchronous_helpers_do_the_same(chromium: str, site: str, tmp_path: Path) -> None:
    def first() -> bytes:
        with sync_playwright() as playwright:
            context = helpers.launch_sync(playwright.chromium, tmp_path / "a", executable_path=chromium, **OPTIONS)
            page = context.new_page()
            page.goto(f"{site}/login")
            state = helpers.capture_sync(context)
            context.close()
        return state

    def second(state: bytes) -> str:
        with sync_playwright() as playwright:
            kind = playwright.chromium
            context = helpers.launch_sync(
                kind, tmp_path / "b", storage_state=state, executable_path=chromium, **OPTIONS
            )
            page = context.new_page()
            page.goto(f"{site}/")
            text = page.inner_text("body")
            context.close()
        return text

    state = await asyncio.to_thread(first)
    move(tmp_path / "a", tmp_path / "b")
    assert await asyncio.to_thread(second, state) == "lasting=kept; passing=kept"


async def test_a_state_that_cannot_be_restored_leaves_no_browser_behind(chromium: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no storage state"):
        async with browser(chromium, tmp_path / "a", b"nonsense"):
            raise AssertionError("not reached")
    assert not running_browser(tmp_path / "a")


@pytest.mark.parametrize("state", [b"nonsense", "[]", {"origins": []}, {"cookies": 5}, {"cookies": ["x"]}])
def test_what_is_no_storage_state(state: Any) -> None:
    with pytest.raises(LocalError) as caught:
        session_cookies(state)
    assert caught.value.reason == "STATE_UNUSABLE"


def test_session_cookies_as_playwright_takes_them() -> None:
    cookie = {
        "name": "n",
        "value": "v",
        "domain": "a.test",
        "path": "/",
        "expires": -1,
        "httpOnly": True,
        "secure": True,
    }
    cookie |= {"sameSite": "None", "partitionKey": "https://top.test", "_crHasCrossSiteAncestor": False}
    lasting = {**cookie, "name": "l", "expires": 4e9}
    found = session_cookies({"cookies": [cookie, lasting], "origins": []})
    assert found == [{name: value for name, value in cookie.items() if not name.startswith("_")}]
    assert session_cookies(None) == session_cookies(b"") == []


def test_flags_of_the_caller_come_first() -> None:
    assert helpers._flags("chromium", ["--x"]) == [*PORTABLE_FLAGS, "--x"]
    assert helpers._flags("chromium", ["--password-store=kwallet"])[-1] == "--password-store=kwallet"
    assert "--password-store=basic" not in helpers._flags("chromium", ["--password-store=kwallet"])
    assert helpers._flags("firefox", ["-x"]) == ["-x"]


def test_mending_leaves_everything_else_alone(tmp_path: Path) -> None:
    for name, text in {
        "Default": '{"profile":{"exit_type":"Crashed","name":"\u00e9"},"other":[1,2.5]}',
        "Profile 1": '{"profile":{"exit_type":"Normal","exited_cleanly":true},  "as it": "is"}',
        "Profile 2": "damaged",
        "Profile 3": "[]",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Preferences").write_text(text, encoding="utf-8")
        (tmp_path / name / "Preferences").chmod(0o600)
    before = {path.parent.name: path.read_bytes() for path in tmp_path.glob("*/Preferences")}
    mend(tmp_path)
    after = {path.parent.name: path.read_bytes() for path in tmp_path.glob("*/Preferences")}
    mended = json.loads(after.pop("Default"))
    del before["Default"]
    assert mended == {"profile": {"exit_type": "Normal", "exited_cleanly": True, "name": "\u00e9"}, "other": [1, 2.5]}
    assert after == before
    assert (tmp_path / "Default" / "Preferences").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "Default").iterdir()] == ["Preferences"]
