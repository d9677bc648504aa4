"""The login site's tokens: what a login leaves in a browser, and the judgement of what is found there."""

from __future__ import annotations

import base64
import hmac
from typing import Any

PERSISTENT, SESSION = "site_persistent", "site_session"


class Tokens:
    """What a login of a user looks like in each of the four places."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def raw(self, kind: str, user: str) -> bytes:
        return hmac.digest(self._secret, f"{kind}\0{user}".encode(), "sha256")

    def token(self, kind: str, user: str) -> str:
        return self.raw(kind, user).hex()

    def cookie(self, kind: str, user: str) -> str:
        return base64.urlsafe_b64encode(user.encode()).decode() + "." + self.token(kind, user)

    def cookie_user(self, kind: str, value: str) -> str | None:
        """The user a cookie stands for; None when the site never issued it."""
        name, _, _ = value.partition(".")
        try:
            user = base64.urlsafe_b64decode(name).decode()
        except ValueError:
            return None
        return user if hmac.compare_digest(value.encode(), self.cookie(kind, user).encode()) else None

    def local(self, user: str) -> dict[str, Any]:
        return {"user": user, "token": self.token("localStorage", user)}

    def record(self, user: str) -> dict[str, Any]:
        """The IndexedDB record in JSON: `when` becomes a Date (ms since 1970), `bytes` (hex) a Uint8Array."""
        when = 1_600_000_000_000 + int.from_bytes(self.raw("when", user)[:5], "big") % 100_000_000_000
        return {
            "user": user,
            "when": when,
            "bytes": self.token("bytes", user),
            "text": "héllo " + self.token("text", user),
        }

    def judge(self, cookies: dict[str, str], local: Any, record: Any) -> dict[str, Any]:
        """Which of the four are there and are one user's."""
        local_user = local.get("user") if isinstance(local, dict) else None
        record_user = record.get("user") if isinstance(record, dict) else None
        users = {
            "persistentCookie": self.cookie_user(PERSISTENT, cookies.get(PERSISTENT, "")),
            "sessionCookie": self.cookie_user(SESSION, cookies.get(SESSION, "")),
            "localStorage": local_user if isinstance(local_user, str) and local == self.local(local_user) else None,
            "indexedDB": record_user if isinstance(record_user, str) and record == self.record(record_user) else None,
        }
        user = next((u for u in users.values() if u is not None), None)
        present = {name: u is not None and u == user for name, u in users.items()}
        return {"loggedIn": all(present.values()), "user": user, **present}
