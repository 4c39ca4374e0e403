"""The long figures: run in chunks that are kept as they end, so that an interrupted proof goes on where it stopped."""
