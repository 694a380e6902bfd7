"""Prefect: the batch, the night, and the command line."""
