"""What can be seen in an image without a tagger: monochrome, sharpness, borders, copies."""
