"""Makes real Chromium profiles by driving the machine's Chromium over the login site.

    make_profiles.py --size small|medium OUT [--chromium /usr/bin/chromium]

OUT/v1 is the first day: log in, browse. OUT/v2 continues a copy of v1 with a typical session; OUT/v3 a copy of v2 with
an idle run (launch, open the page, close). OUT/profiles.json holds the facts: bytes, files and seconds per version, and
the browser's version. Everything a profile holds was put there by the browser; the sizes come from the pages visited.
Run it with the Python that `tests/install` made (target/test-tools/venv/bin/python).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

try:
    from playwright.sync_api import BrowserContext, Page, sync_playwright
except ImportError:
    sys.exit("this Python has no playwright: run `tests/install venv`, then target/test-tools/venv/bin/python")

SITE = Path(__file__).resolve().parent.parent / "site" / "login_site.py"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXIT_SECONDS = 30


@dataclass(frozen=True)
class Visit:
    """`pages` visits of /browse on each of `origins`, each leaving what `leaves` says."""

    origins: tuple[str, ...]
    pages: int
    leaves: dict[str, int]


@dataclass(frozen=True)
class Size:
    """What is visited, and the bounds (MB of 10⁶ bytes, files) within which every version has to come out."""

    first: Visit
    typical: Visit
    megabytes: tuple[int, int]
    files: tuple[int, int]

    def check(self, name: str, facts: dict[str, Any]) -> None:
        for what, value, (low, high) in (
            ("MB", facts["bytes"] / 1e6, self.megabytes),
            ("files", facts["files"], self.files),
        ):
            if not low <= value <= high:
                raise RuntimeError(
                    f"{name} has {value:g} {what}, wanted {low} to {high}: this Chromium keeps other amounts"
                )


THREE = ("www.localhost", "mail.localhost", "shop.localhost")
SIX = (*THREE, "maps.localhost", "news.localhost", "video.localhost")
RICH = {"image": 100_000, "scripts": 2, "script": 60_000, "idb_bytes": 80_000, "cache": 3, "cache_bytes": 80_000}
SIZES = {
    "small": Size(
        first=Visit(THREE, 5, {"n": 9, **RICH}),
        typical=Visit(THREE, 1, {"n": 6, "image": 50_000}),
        megabytes=(20, 35),
        files=(110, 600),
    ),
    "medium": Size(
        first=Visit(SIX, 8, {"n": 14, **RICH, "idb": 4}),
        typical=Visit(SIX, 2, {"n": 8, "image": 40_000}),
        megabytes=(100, 200),
        files=(1_300, 4_000),
    ),
}


@contextmanager
def login_site() -> Iterator[str]:
    """A running login site; yields its port."""
    site = subprocess.Popen([sys.executable, str(SITE)], stdout=subprocess.PIPE, text=True)
    try:
        assert site.stdout is not None
        yield json.loads(site.stdout.readline())["url"].rsplit(":", 1)[1]
    finally:
        site.terminate()
        site.wait()


def browser_processes(profile: Path) -> list[str]:
    """The ids of the processes that run on this profile."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process that ended meanwhile
            # Chromium's children join their words with spaces, hence no comparison word by word.
            if f"--user-data-dir={profile}".encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


@contextmanager
def browser(chromium: str, profile: Path, launcher: Any) -> Iterator[BrowserContext]:
    """Chromium on a profile; left only when every process of it has gone, for only then is the profile whole."""
    context = launcher.launch_persistent_context(str(profile), executable_path=chromium, headless=True, args=FLAGS)
    try:
        yield context
    finally:
        context.close()
        deadline = time.monotonic() + EXIT_SECONDS
        while browser_processes(profile) or (profile / "SingletonLock").is_symlink():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the browser on {profile} still runs {EXIT_SECONDS} s after it was closed")
            time.sleep(0.02)


def settled(page: Page, url: str) -> dict[str, Any]:
    """Opens a page of the site and returns what its script reports when it is through."""
    page.goto(url)
    return reported(page)


def reported(page: Page) -> dict[str, Any]:
    page.wait_for_selector("#state[data-ready]")
    result: dict[str, Any] = json.loads(page.text_content("#state") or "")
    if "error" in result:
        raise RuntimeError(f"{page.url}: {result['error']}")
    return result


def log_in(page: Page, base: str, user: str) -> None:
    page.goto(f"{base}/login")
    page.fill("[name=user]", user)
    page.fill("[name=password]", "open sesame")
    page.click("button")
    if not reported(page)["loggedIn"]:
        raise RuntimeError(f"the login on {base} did not succeed")


def browse(page: Page, port: str, visit: Visit, first_seed: int) -> None:
    seed = first_seed
    for _ in range(visit.pages):
        for origin in visit.origins:
            settled(page, f"http://{origin}:{port}/browse?{urlencode({'seed': seed, **visit.leaves})}")
            seed += 1


def measure(profile: Path) -> dict[str, int]:
    sizes = [path.lstat().st_size for path in profile.rglob("*") if path.is_file() and not path.is_symlink()]
    return {"bytes": sum(sizes), "files": len(sizes)}


def make(size: Size, out: Path, chromium: str) -> dict[str, Any]:
    versions: dict[str, Any] = {}
    with login_site() as port, sync_playwright() as playwright:
        launcher = playwright.chromium

        def first(page: Page) -> None:
            for origin in size.first.origins:
                log_in(page, f"http://{origin}:{port}", "ada@example.org")
            browse(page, port, size.first, 1_000)

        def typical(page: Page) -> None:
            settled(page, f"http://{size.first.origins[0]}:{port}/")
            browse(page, port, size.typical, 2_000)

        def idle(page: Page) -> None:
            settled(page, f"http://{size.first.origins[0]}:{port}/")

        before: Path | None = None
        for name, session in (("v1", first), ("v2", typical), ("v3", idle)):
            started = time.monotonic()
            profile = out / name
            if before is not None:
                subprocess.run(["cp", "-a", str(before), str(profile)], check=True)
            with browser(chromium, profile, launcher) as context:
                version = context.browser.version if context.browser else ""
                session(context.pages[0])
            versions[name] = {**measure(profile), "seconds": round(time.monotonic() - started, 2)}
            size.check(name, versions[name])
            before = profile
    return {"chromium": version, "versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes real Chromium profiles")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--chromium", default=os.environ.get("CLOAKROOM_TEST_CHROMIUM", "/usr/bin/chromium"))
    options = parser.parse_args()
    size = SIZES[options.size]
    if not Path(options.chromium).exists():
        parser.error(f"there is no {options.chromium}; tests/install installs Chromium")
    try:
        options.out.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"{options.out} exists; profiles are only made into a new directory")
    facts = {"size": options.size, **make(size, options.out.resolve(), options.chromium)}
    (options.out / "profiles.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
