"""Payment sessions: the five minutes in which a customer's session code may be offered to one merchant."""
