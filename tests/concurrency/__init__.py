"""Sessions stepped statement by statement on real MariaDB, in orders drawn from a seed.

Each session runs a production transaction in a thread of its own, through ``run_transaction``; before each statement,
COMMIT, ROLLBACK and pause it stops until the stepper lets it go. So a seed names one way in which transactions mix,
and whatever goes wrong in it can be looked at again:

    TILLBOX_CONCURRENCY_SEED=17 pytest tests/integration/test_concurrency.py -k two_boxes_one_code

runs seed 17 of that scenario alone; a failure prints the command and the order of the statements.

``lane.py`` is one session, ``stepper.py`` lets them go in turn, ``lock_watch.py`` asks the server who waits,
``order.py`` chooses, ``trace.py`` records; ``cuts.py`` and ``line.py`` lose connections at a COMMIT. ``ground.py``
makes fresh rows, ``scene.py`` says what is seen of them, ``explorer.py`` compares that with what the serial orders
give; ``scenarios/`` has the transactions that meet.
"""
