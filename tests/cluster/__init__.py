"""The ledger, the payments and the cache on a Galera and a Redis Cluster whose nodes are killed."""
