"""The configurations that come with tempprop, as YAML: one file, one model and look."""
