"""Chaos on real processes: servers, cloud and five boxes are killed, stopped and cut off while they sell."""
