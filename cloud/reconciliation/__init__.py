"""Reconciliation: gives every offline payment one outcome and proves that nothing is left unexplained."""
