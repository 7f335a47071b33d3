"""Counter-based randomness: every draw is a pure function of a seed and a key, so nothing has state to save."""

import hashlib
import json
import random

import torch

Key = int | str


def _hasher(seed: int, key: tuple[Key, ...], size: int) -> "hashlib.blake2b":
    text = json.dumps([seed, *key], ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=size)


def _word(seed: int, key: tuple[Key, ...], size: int) -> int:
    return int.from_bytes(_hasher(seed, key, size).digest(), "little")


def generator(seed: int, *key: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose, e.g. ``generator(seed, "noise", epoch, sample)``.

    The same key gives other numbers on another kind of device.
    """
    return torch.Generator(device=device).manual_seed(_word(seed, key, 8) >> 1)


def python_random(seed: int, *key: Key) -> random.Random:
    """A generator of Python's own kind, for draws that kohya makes with it."""
    return random.Random(_word(seed, key, 8))


def integer(seed: int, *key: Key, high: int) -> int:
    """One whole number, uniform in [0, high).

    Raises:
        ValueError: ``high`` is below 1.
    """
    if high < 1:
        raise ValueError(f"A random integer needs high of at least 1, got {high}.")
    return _word(seed, key, 16) % high  # 128 bits: the bias of the remainder is below 1e-19


def uniform(seed: int, *key: Key) -> float:
    """One number, uniform in [0, 1), with 53 random bits."""
    return (_word(seed, key, 8) >> 11) * 2.0**-53


def permutation(n: int, seed: int, *key: Key) -> list[int]:
    """The numbers 0..n-1 in random order: sorted by a hash each, so the same on every version and machine."""
    base = _hasher(seed, key, 16)

    def rank(index: int) -> bytes:
        hasher = base.copy()
        hasher.update(index.to_bytes(8, "little"))
        return hasher.digest()

    return sorted(range(n), key=rank)
