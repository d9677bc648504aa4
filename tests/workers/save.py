#!/usr/bin/env python3
"""A worker that saves one directory: `save.py TARGET SESSION DIRECTORY`."""

import asyncio
import sys

from cloakroom import Client


async def main(target: str, session: str, directory: str) -> None:
    async with Client(target) as client:
        saved = await client.save(session, directory)
        print(saved.snapshot.id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
