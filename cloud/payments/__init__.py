"""Online payments: a merchant asks, the customer confirms on the own phone, the ledger moves the money."""
