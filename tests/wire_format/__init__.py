"""Keeps ``docs/wire_format.md`` true: its tables and its worked example are made from the layouts and the vectors.

``python -m tests.wire_format --write`` makes them again; what stands between the marked places is written by people.
"""
