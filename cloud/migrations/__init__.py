"""The schema's history, one file a step, applied by ``cloud.db.upgrade``.

Each domain folder keeps its tables in ``tables.py``; a test holds models and history equal on both databases. A new
step is drafted by ``alembic -c cloud/migrations/alembic.ini -x url=sqlite:///FILE revision --autogenerate -m TEXT``
and then read by a person.
"""

import importlib
import importlib.util
import pkgutil

import cloud
from cloud.db import Base


def load_tables() -> type[Base]:
    """Import every ``cloud.<domain>.tables``, so that ``Base.metadata`` knows all tables; answers that base."""
    for domain in pkgutil.iter_modules(cloud.__path__, "cloud."):
        if domain.ispkg and importlib.util.find_spec(f"{domain.name}.tables") is not None:
            importlib.import_module(f"{domain.name}.tables")
    return Base
