"""A terminal that is killed while it sells, and the questions that its outbox is asked afterwards."""
