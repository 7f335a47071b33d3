"""The dataset of red pictures with the demo's tagger."""

from pack.tests.host.scoring.conftest import dataset

__all__ = ["dataset"]
