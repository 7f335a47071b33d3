"""What a tagger says of previews: whether they show what was asked for, and what nobody asked for."""
