# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""A real `cloakroomd` for the tests: the binary that CLOAKROOM_TEST_DAEMON names."""

import os
import re
import selectors
import signal
import socket
import subprocess
import time
from pathlib import Path

READY = re.compile(r"^cloakroomd ready grpc=(?P<grpc>\S+) http=(?P<http>\S+) data=(?P<data>.+)$")
PATIENCE = 60.0


class Daemon:
    """One process and its data directory; it can be killed and started anew."""

    def __init__(self, data: Path, listen: str = "127.0.0.1:0") -> None:
        binary = os.environ.get("CLOAKROOM_TEST_DAEMON")
        assert binary, (
            "set CLOAKROOM_TEST_DAEMON to the path of a cloakroomd binary: these tests run against a real daemon"
        )
        assert Path(binary).is_file(), f"CLOAKROOM_TEST_DAEMON names {binary}, which is not there"
        self.data, self._listen, self._binary = data, listen, binary
        self.log = data.with_name(data.name + ".log")
        self.target = self.http = ""
        self.start()

    def start(self) -> None:
        command = [self._binary, "--data-dir", str(self.data), "--listen", self._listen, "--http-listen", "127.0.0.1:0"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        deadline, seen = time.monotonic() + PATIENCE, ""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not ready.select(1):
                    continue
                line = self._process.stdout.readline()
                seen += line
                if found := READY.match(line.strip()):
                    self.target, self.http = found["grpc"], found["http"]
                    return
                if not line:
                    break
        self._process.kill()
        raise AssertionError(f"cloakroomd did not get ready; it said {seen!r} and {self.log.read_text()[-2000:]!r}")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._end()

    def _end(self) -> None:
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
