#!/usr/bin/env python3
"""The login site that the tests' browsers visit. Python's standard library only.

A login leaves the four things a real site leaves in a browser: a persistent cookie, a session cookie, a localStorage
entry and an IndexedDB record. Each holds a token made from the user's name under `--secret`, so the site remembers
nobody: a site started again with the same secret and port knows the same logins. Only `/` judges them.

    /               the state, as JSON in <pre id="state">, complete once the element has `data-ready`
    /login          the form (user, password); POSTing it logs in and ends on `/`
    /logout         removes the four things and ends on `/`
    /browse?…       a page that leaves ordinary traces; the parameters and their defaults are `BROWSE`

All that `/browse` leaves is a function of its parameters. The first line on stdout is {"url": …, "pid": …}; SIGTERM
ends the site with exit code 0.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import html
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from content import BROWSE, bitmap, random_bytes, script
from tokens import PERSISTENT, SESSION, Tokens

HERE = Path(__file__).resolve().parent
SCRIPTS = {f"/{name}": (HERE / name).read_bytes() for name in ("site.js", "worker.js")}
THIRTY_DAYS = 30 * 24 * 3600
MAX_BODY = 64 * 1024
MAX_BYTES = 64 * 1024 * 1024


class Site(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], secret: str, password: str) -> None:
        super().__init__(address, Handler)
        self.tokens = Tokens(secret)
        self.password = password

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # browsers drop connections when they close
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, kind: str, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers or [("Cache-Control", "no-store")]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def page(
        self,
        title: str,
        body: str,
        call: str,
        data: Any = None,
        status: int = 200,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        """A page whose script runs `site.call(data)`."""
        embedded = json.dumps(data).replace("<", "\\u003c")
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
            f'<body><h1>{html.escape(title)}</h1>{body}<script src="/site.js"></script>'
            f"<script>site.run(site.{call}, {embedded});</script></body></html>"
        )
        self.reply(status, "text/html; charset=utf-8", text.encode(), [("Cache-Control", "no-store"), *(headers or [])])

    def redirect(self, to: str, cookies: list[str]) -> None:
        self.reply(
            303,
            "text/plain",
            b"",
            [("Location", to), ("Cache-Control", "no-store"), *(("Set-Cookie", c) for c in cookies)],
        )

    def cookies(self) -> dict[str, str]:
        jar: SimpleCookie = SimpleCookie()
        for header in self.headers.get_all("Cookie", []):
            try:
                jar.load(header)
            except CookieError:
                return {}
        return {name: morsel.value for name, morsel in jar.items()}

    def body(self) -> bytes | None:
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 <= size <= MAX_BODY:
            self.close_connection = True
            self.reply(413, "text/plain", f"a body has at most {MAX_BODY} bytes\n".encode())
            return None
        return self.rfile.read(size)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        pages: dict[str, Callable[[dict[str, str]], None]] = {
            "/": self.get_state,
            "/login": self.get_login,
            "/welcome": self.get_welcome,
            "/logout": self.get_logout,
            "/browse": self.get_browse,
            "/image": self.get_made(bitmap, "image/bmp", True),
            "/script": self.get_made(script, "text/javascript", True),
            "/bytes": self.get_made(random_bytes, "application/octet-stream", False),
            "/favicon.ico": lambda _: self.kept("image/bmp", bitmap("favicon", 768)),
        }
        if url.path in SCRIPTS:
            self.reply(200, "text/javascript; charset=utf-8", SCRIPTS[url.path])
        elif url.path in pages:
            pages[url.path](query)
        else:
            self.reply(404, "text/plain", b"no such page\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.body()
        if body is None:
            return
        path = urlsplit(self.path).path
        if path == "/login":
            self.post_login({name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()})
        elif path == "/check":
            self.post_check(body)
        else:
            self.reply(404, "text/plain", b"no such page\n")

    def get_state(self, _: dict[str, str]) -> None:
        self.page("State", '<pre id="state"></pre><a href="/login">log in</a> <a href="/logout">log out</a>', "state")

    def get_login(self, _: dict[str, str]) -> None:
        self.show_login(200, "")

    def show_login(self, status: int, complaint: str) -> None:
        self.page(
            "Log in",
            f'<p id="complaint">{html.escape(complaint)}</p><form method="post" action="/login">'
            '<label>User <input name="user" autocomplete="username" required></label> '
            '<label>Password <input name="password" type="password" autocomplete="current-password" required></label> '
            '<button type="submit">Log in</button></form>',
            "nothing",
            status=status,
        )

    def post_login(self, form: dict[str, str]) -> None:
        user, password = form.get("user", ""), form.get("password", "")
        if not user or not hmac.compare_digest(password.encode(), self.server.password.encode()):
            self.show_login(401, "Wrong user or password")
            return
        tokens = self.server.tokens
        rest = "; Path=/; HttpOnly; SameSite=Lax"
        self.redirect(
            "/welcome",
            [
                f"{PERSISTENT}={tokens.cookie(PERSISTENT, user)}{rest}; Max-Age={THIRTY_DAYS}",
                f"{SESSION}={tokens.cookie(SESSION, user)}{rest}",
            ],
        )

    def get_welcome(self, _: dict[str, str]) -> None:
        """Where a login lands: the page's script writes localStorage and IndexedDB, then goes to `/`."""
        tokens, cookies = self.server.tokens, self.cookies()
        user = tokens.cookie_user(SESSION, cookies.get(SESSION, ""))
        if user is None:
            self.redirect("/login", [])
            return
        self.page("Welcome", "", "welcome", {"local": tokens.local(user), "record": tokens.record(user)})

    def post_check(self, body: bytes) -> None:
        """What the page's script found in localStorage and IndexedDB, judged together with the request's cookies."""
        try:
            found = json.loads(body)
            answer = self.server.tokens.judge(self.cookies(), found["localStorage"], found["indexedDB"])
        except (ValueError, KeyError, TypeError) as error:
            self.reply(400, "text/plain", f"not a state: {type(error).__name__}\n".encode())
            return
        self.reply(200, "application/json", json.dumps(answer).encode())

    def get_logout(self, _: dict[str, str]) -> None:
        gone = [("Set-Cookie", f"{name}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0") for name in (PERSISTENT, SESSION)]
        self.page("Log out", "", "logout", headers=gone)

    def get_browse(self, query: dict[str, str]) -> None:
        try:
            wanted = {name: int(query.pop(name, default)) for name, default in BROWSE.items()}
        except ValueError:
            wanted = {}
        if query or not wanted or min(wanted.values()) < 0:
            names = ", ".join(BROWSE)
            self.reply(400, "text/plain", f"/browse takes these, each a number ≥ 0, and no others: {names}\n".encode())
            return
        cookies = []
        for i in range(wanted["cookies"]):
            value = hashlib.sha256(f"{wanted['seed']}/{i}".encode()).hexdigest()
            cookies.append(("Set-Cookie", f"browse_{i}={value}; Path=/; Max-Age={THIRTY_DAYS}"))
        body = '<pre id="state"></pre><div id="images"></div>'
        self.page(f"Browse {wanted['seed']}", body, "browse", wanted, headers=cookies)

    def get_made(self, make: Callable[[str, int], bytes], kind: str, kept: bool) -> Callable[[dict[str, str]], None]:
        """Answers `?name=…&size=…` with `make(name, size)`."""

        def get(query: dict[str, str]) -> None:
            size = query.get("size", "")
            if not size.isdecimal() or int(size) > MAX_BYTES:
                self.reply(400, "text/plain", f"size has to be a number of bytes ≤ {MAX_BYTES}\n".encode())
                return
            body = make(query.get("name", ""), int(size))
            if kept:
                self.kept(kind, body)
            else:
                self.reply(200, kind, body)

        return get

    def kept(self, kind: str, body: bytes) -> None:
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = [("Cache-Control", "public, max-age=31536000, immutable"), ("ETag", etag)]
        if self.headers.get("If-None-Match") == etag:
            self.reply(304, kind, b"", headers)
        else:
            self.reply(200, kind, body, headers)


def main() -> None:
    parser = argparse.ArgumentParser(description="The login site of the tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--secret", default="cloakroom-login-site", help="what the tokens are made under")
    parser.add_argument("--password", default="open sesame", help="every user's password")
    options = parser.parse_args()
    site = Site((options.host, options.port), options.secret, options.password)
    # `shutdown` waits for the loop that this signal interrupts, hence a thread of its own.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=site.shutdown).start())
    print(json.dumps({"url": f"http://{options.host}:{site.server_port}", "pid": os.getpid()}), flush=True)
    site.serve_forever(poll_interval=0.05)
    site.server_close()


if __name__ == "__main__":
    main()
