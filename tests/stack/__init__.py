"""The real cloud, the real broker and real boxes in one test process, put together from production's own parts."""
