# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The README's code, run as it stands, against a real daemon and a real browser."""

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon
from test_browser import OPTIONS, chromium, site

import cloakroom.playwright

__all__ = ["chromium", "site"]  # fixtures

README = Path(__file__).resolve().parents[1] / "README.md"


async def test_the_readme(chromium: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cloakroom.playwright.launch

    async def launch(browser_type: Any, directory: Path, **options: Any) -> Any:
        return await real(browser_type, directory, executable_path=chromium, **OPTIONS, **options)

    monkeypatch.setattr(cloakroom.playwright, "launch", launch)
    daemon = Daemon(tmp_path / "data")
    try:
        code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL))
        names: dict[str, Any] = {}
        exec(compile(code.replace("127.0.0.1:7700", daemon.target), str(README), "exec"), names)  # noqa: S102
        session_id = await names["log_in"](tmp_path / "a", f"{site}/login")
        snapshot_id = await names["go_on"](tmp_path / "b", f"{site}/")
        assert await names["go_on"](tmp_path / "b", f"{site}/") != snapshot_id
        assert await asyncio.to_thread(names["list_logins"]) == [session_id]
        async with cloakroom.Client(daemon.target) as client:
            following = asyncio.create_task(names["follow"](b""))
            async with asyncio.timeout(60):
                # Another label each time: an update that changes nothing makes no event.
                for change in itertools.count():
                    await client.sessions.update(session_id, labels={"change": str(change)})
                    if (await asyncio.wait([following], timeout=0.1))[0]:
                        break
            assert following.result()
    finally:
        daemon.stop()
