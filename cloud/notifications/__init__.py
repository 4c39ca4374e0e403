"""What people are told: written in the transaction of what happened, listed until read."""
