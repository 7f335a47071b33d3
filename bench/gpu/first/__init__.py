"""What a first run on a card is asked, the most important first; see docs/benchmarks.md, "On a GPU"."""
