"""Passwords as argon2id hashes: the only importer of argon2."""

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

SHORTEST, LONGEST = 12, 1024  # characters

NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$V6LVBsSsG5Q73Gm5IRLSXQ$F//9hiljuM2r36mXh+ew69DOr52/T35g7ySNzP0xSCk"
"""A hash whose password nobody knows: to look it up takes as long as a user's."""

_HASHER = PasswordHasher()


def hashed(password: str) -> str:
    """Takes some 50 ms and 64 MiB."""
    return _HASHER.hash(_normal(password))


def fits(hash_: str | None, password: str) -> bool:
    """Whether it is the password of that hash; None: of nobody, which takes as long to find out."""
    try:
        return _HASHER.verify(hash_ or NOBODYS, _normal(password)) and hash_ is not None
    except (Argon2Error, InvalidHashError):
        return False


def _normal(password: str) -> bytes:
    """The same letters typed on another system are the same password."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
