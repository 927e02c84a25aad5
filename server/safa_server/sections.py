"""Pages that people write, with tables between marks that programs write. Pure.

<!-- table: NAME -->
...
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_SECTION = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str, made: Mapping[str, Callable[[], str]]) -> str:
    """The page with every table as it is made now. Raises KeyError for a table that nothing makes."""
    return _SECTION.sub(lambda found: f"{found[1]}{made[found[2]]()}{found[3]}", text)
