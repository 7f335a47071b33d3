"""kohya's config files, folders and prompt lines, read into ours. Imports `config`, `dataset` and below."""
