"""The language both ends speak, and the sync engine without I/O. Imports nothing of ours."""
