"""What a request to one of our routes holds: an object of JSON, small, or a sentence that says what to send."""

from __future__ import annotations

from typing import Any

from ....base.small_file import parse_json

MOST_BYTES = 1 << 16
"""Of a request's body; what is beyond is not read."""
_LONGEST_TEXT = 200


async def read_object(request: Any, most: int = MOST_BYTES) -> dict[str, Any]:
    """The object that the body of an aiohttp request is.

    Raises:
        ValueError: it is larger than ``most`` bytes, no JSON, nested too deep, or no object.
    """
    body = bytearray()
    async for chunk in request.content.iter_chunked(MOST_BYTES):
        body += chunk
        if len(body) > most:
            raise ValueError(f"The request is larger than {most} bytes.")
    try:
        found = parse_json(body.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"The request is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError("The request must be a JSON object.")
    return found


def short_text(found: dict[str, Any], name: str) -> str:
    """A field that is a short text or a whole number, as text. ValueError when it is missing or another thing."""
    value = found.get(name)
    is_right = isinstance(value, str | int) and not isinstance(value, bool)
    if not is_right or len(str(value)) > _LONGEST_TEXT:
        raise ValueError(
            f'Send {{"{name}": id}}, the id a text of at most {_LONGEST_TEXT} characters.'
        )
    return str(value)
