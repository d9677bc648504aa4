# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The README's programs, each run as it stands in an empty directory, against a real daemon and a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon
from test_browser import OPTIONS, chromium

import cloakroom.playwright
from cloakroom import sync

__all__ = ["chromium"]  # a fixture

README = Path(__file__).resolve().parents[1] / "README.md"
ABOVE = Path(__file__).resolve().parents[3] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "data")
    yield running
    running.stop()


def test_the_readme(
    daemon: Daemon,
    chromium: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = cloakroom.playwright.launch

    async def launch(browser_type: Any, directory: str, **options: Any) -> Any:
        options["args"] = [*OPTIONS["args"], *options.get("args", ())]
        return await real(browser_type, directory, **{"executable_path": chromium, **OPTIONS, **options})

    monkeypatch.setattr(cloakroom.playwright, "launch", launch)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("CLOAKROOM_MOUNTS", str(tmp_path / "mounts"))

    def run(program: str, target: str = daemon.target) -> list[str]:
        code = compile(program.replace("127.0.0.1:7700", target), str(README), "exec")
        exec(code, {"__name__": "__main__"})  # noqa: S102
        return capsys.readouterr().out.splitlines()

    (whole,) = re.findall(r"```python\n(.*?)```", ABOVE.read_text(encoding="utf-8"), re.DOTALL)
    for _ in range(2):
        (saved,) = run(whole)
        assert "of session acct-1," in saved
    begin, worker_a, worker_b, mounting, listing, following = PROGRAMS
    for _ in range(2):  # also where it was run before
        first, saved, moved, loaded = run(begin)
        assert first.endswith(" PENDING") and saved.startswith("snapshot ") and moved == "ACTIVE"
        assert loaded.startswith(saved.split(";")[0])
    (session_id,) = run(worker_a)
    for program in (worker_b, worker_b, mounting, mounting):
        cookies, saved = run(program)
        assert sorted(re.findall("[a-z]+", cookies)) == ["remembered", "session"]
        assert f"of session {session_id}," in saved
    assert f"{session_id} shop ACTIVE" in run(listing)
    for _ in range(2):
        (heard,) = run(following)
        assert re.fullmatch(r"\S+ SESSION_CREATED [0-9]+", heard)
    token = tmp_path / "empty" / "watch.token"
    another = Daemon(tmp_path / "another")
    try:
        assert len(run(following, another.target)) == 1, "with the token of another daemon it begins anew"
        assert len(run(following, another.target)) == 1
    finally:
        another.stop()
    for spoilt in (b"no token", token.read_bytes()):
        token.write_bytes(spoilt)
        assert len(run(following)) == 1
    with sync.Client(daemon.target) as client:
        assert len(list(client.snapshots(session_id))) == 5
