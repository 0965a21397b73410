"""The keys that detach a terminal and leave what runs in it alone."""

from __future__ import annotations

from inception.errors import InvalidArgument

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `a,b` as the bytes that a terminal sends for them."""
    keys = bytearray()
    for word in (text or DEFAULT_DETACH_KEYS).split(","):
        head, _, letter = word.lower().partition("ctrl-")
        if len(word.encode()) == 1:
            keys += word.encode()
        elif head == "" and len(letter) == 1 and ("a" <= letter <= "z" or letter in "@[\\]^_"):
            keys.append(ord(letter.upper()) - ord("@"))
        else:
            raise InvalidArgument(f"invalid detach keys ({text}): Unknown character: '{word}'")
    return bytes(keys)


class DetachKeys:
    """Watches what is typed for a sequence of keys; the start of one is held back until it is known to be none."""

    def __init__(self, keys: bytes) -> None:
        self.keys = keys
        self._held = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on of *data*, and whether the sequence was completed."""
        passed = bytearray()
        for byte in data:
            if byte != self.keys[self._held]:
                passed += self.keys[: self._held]
                self._held = 0
                if byte != self.keys[0]:
                    passed.append(byte)
                    continue
            self._held += 1
            if self._held == len(self.keys):
                self._held = 0
                return bytes(passed), True
        return bytes(passed), False
