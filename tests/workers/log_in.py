#!/usr/bin/env python3
"""A worker: creates a session, logs in with a real browser, saves the profile with its storage state, and stops."""

import argparse
import asyncio
import json

from cloakroom import Client
from cloakroom import playwright as helpers
from playwright.async_api import async_playwright

#: What keeps Chromium quiet on a machine without a network, and lets root start it.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


async def work(options: argparse.Namespace) -> dict[str, object]:
    async with Client(options.target) as client, async_playwright() as playwright:
        await client.sessions.create(session_id=options.session, business_id=options.business, email=options.email)
        context = await helpers.launch(
            playwright.chromium, options.profile, executable_path=options.chromium, headless=True, args=FLAGS
        )
        page = context.pages[0] if context.pages else await context.new_page()
        await page.goto(f"{options.site}/login")
        await page.fill('input[name="user"]', options.email)
        await page.fill('input[name="password"]', "open sesame")
        await page.click('button[type="submit"], input[type="submit"]')
        # The page after the login writes localStorage and IndexedDB, and says when it is done.
        state = json.loads(await page.inner_text("#state[data-ready]"))
        storage_state = await helpers.capture(context)
        await context.close()
        saved = await client.save(options.session, options.profile, storage_state=storage_state)
        await client.sessions.transition(options.session, "ACTIVE", reason="logged in")
        return {"state": state, "snapshot": saved.snapshot.id, "revision": saved.revision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("target", "session", "business", "email", "site", "profile", "chromium"):
        parser.add_argument(f"--{name}", required=True)
    print(json.dumps(asyncio.run(work(parser.parse_args()))), flush=True)


if __name__ == "__main__":
    main()
