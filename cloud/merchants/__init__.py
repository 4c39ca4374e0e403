"""Merchants and their sites: who is paid, at which commission."""
