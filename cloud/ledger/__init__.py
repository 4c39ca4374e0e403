"""The ledger: double entry in integer minor units; what an entry is stands in ``entries.py``, how it is posted in
``service.py``.
"""
