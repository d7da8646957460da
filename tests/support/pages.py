"""Write all generated pages and boards in one process: `python -m tests.support.pages`.

With `--check` none is written, and the status is 1 if one differs from the source. Most of a page's time is imports.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Final

from deploy import dashboards
from tests.support import (
    compatibility,
    configuration_page,
    conversion_page,
    errors_page,
    llms_page,
    logs_page,
    upstreams_page,
)

# The list of all pages is the last, since it reads the others.
WRITERS: Final[tuple[Callable[[Sequence[str]], int], ...]] = (
    conversion_page.main,
    upstreams_page.main,
    configuration_page.main,
    errors_page.main,
    logs_page.main,
    compatibility.main,
    dashboards.main,
    llms_page.main,
)


def main(arguments: Sequence[str]) -> int:
    return max([write(arguments) for write in WRITERS])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
