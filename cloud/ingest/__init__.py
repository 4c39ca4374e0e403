"""Ingest: takes what terminals send, keeps it raw, verifies all of it again, then posts."""
