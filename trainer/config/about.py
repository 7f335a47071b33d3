"""What its maker says of a LoRA, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """Words of the maker; what is empty is not written."""

    title: str = ""
    """The name that other programs show; empty for the name of the file."""
    author: str = ""
    """Who made the LoRA, for modelspec.author."""
    description: str = ""
    """What the LoRA is for, for modelspec.description."""
    license: str = ""
    """The licence that the LoRA is under, for modelspec.license."""
    tags: str = ""
    """Words between commas to find the LoRA by, for modelspec.tags."""
    comment: str = ""
    """kohya's training_comment: anything else that the file should say."""

    def keys(self, name: str) -> dict[str, str]:
        """The metadata keys of a LoRA whose file is called ``name``, without folder and suffix."""
        words = {
            "author": self.author,
            "description": self.description,
            "license": self.license,
            "tags": self.tags,
        }
        return {
            "ss_output_name": name,
            "ss_training_comment": self.comment or "None",
            "modelspec.title": self.title or name,
            **{f"modelspec.{key}": text for key, text in words.items() if text},
        }
