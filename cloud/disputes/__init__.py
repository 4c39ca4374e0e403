"""Disputes: a customer says that a payment was not theirs or not right, and a person decides."""
