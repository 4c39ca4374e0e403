"""The deterministic simulator: shops, phones and the cloud in one process, under a virtual clock and seeded faults."""
