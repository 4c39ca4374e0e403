"""Payment codes mutated by someone who knows their structure, and an independent verifier to compare with."""
