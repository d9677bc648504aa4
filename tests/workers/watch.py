#!/usr/bin/env python3
"""A worker that watches: one line of JSON per change, reset and reconnection, until its standard output is closed or it is killed."""

import argparse
import asyncio
import json
from pathlib import Path

from cloakroom import Client
from cloakroom.v1 import invalidation_pb2


async def work(options: argparse.Namespace) -> None:
    token_file = Path(options.token_file)
    token = token_file.read_bytes() if token_file.exists() else b""
    async with Client(options.target) as client:
        async with client.watch(resume_token=token, bookmark_interval=1.0) as watch:
            print(json.dumps({"watching": True}), flush=True)
            async for event in watch:
                for change in getattr(event, "changes", ()):
                    kind = invalidation_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_")
                    print(json.dumps({"kind": kind, "session": change.session_id, "revision": change.revision}), flush=True)
                if type(event).__name__ == "Reset":
                    print(json.dumps({"reset": str(event)}), flush=True)
                # Applied, so the token may be stored: whoever starts again from it sees neither a gap nor a repetition.
                aside = token_file.with_suffix(".new")
                aside.write_bytes(event.resume_token)
                aside.replace(token_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("target", "token-file"):
        parser.add_argument(f"--{name}", required=True)
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
