"""The devices of the box: cameras, the QR reader, the key store, sounds and lamps.

Nothing here knows of payments, so each device can be tried, replaced and tested by itself.
"""
