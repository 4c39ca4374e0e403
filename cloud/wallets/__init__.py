"""Wallets, the phones bound to them, their grants, and the reserve behind offline payments (protocol §4)."""
