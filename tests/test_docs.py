"""All routes, fields, headers and metrics are documented, and the examples of the documents work."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

import gateway.telemetry.metrics
import workers.metrics
from gateway.telemetry.process_metrics import PROCESS_METRICS
from gateway.web.routes import ADMIN_ROLES, ADMIN_ROUTES, CLIENT_ROUTES

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs/api.md").read_text()
METRICS = (ROOT / "docs/metrics.md").read_text()
SOURCES = [path.read_text() for room in ("gateway", "workers") for path in (ROOT / room).rglob("*.py")]


def rows(text: str, heading: str) -> set[str]:
    """The first column of the table under a heading."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "routes"),
    [("Routes of the client listener", CLIENT_ROUTES), ("Routes of the admin listener", ADMIN_ROUTES)],
)
def test_every_route_is_documented_and_every_documented_route_is_there(heading: str, routes: Any) -> None:
    assert rows(API, heading) == {f"{route.method} {route.path}" for route in routes}


def test_every_route_of_the_admin_listener_is_documented_with_its_role() -> None:
    roles = re.findall(r"^\| `([A-Z]+) (/[^`]*)` \| (open|viewer|operator|admin) \|", API, re.MULTILINE)
    assert {(method, path): role for method, path, role in roles} == ADMIN_ROLES


def test_every_header_of_our_own_is_documented() -> None:
    used = {name for source in SOURCES for name in re.findall(r'"(x-gateway-[a-z-]+)"', source)}
    assert used == set(re.findall(r"`(x-gateway-[a-z-]+)`", API))


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    written = set(re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", METRICS, re.MULTILINE))
    of_processes = {(name, kind, "`child`") for name, kind, _ in PROCESS_METRICS}
    assert written - of_processes == {
        described(metric)
        for module in (gateway.telemetry.metrics, workers.metrics)
        for metric in vars(module).values()
        if isinstance(metric, MetricWrapperBase)
    }


def test_every_metric_of_processes_is_documented() -> None:
    assert [name for name, kind, _ in PROCESS_METRICS if f"| `{name}` | {kind} | `child` |" not in METRICS] == []


def described(metric: MetricWrapperBase) -> tuple[str, str, str]:
    name = metric._name + ("_total" if metric._type == "counter" else "")
    return name, metric._type, ", ".join(f"`{label}`" for label in metric._labelnames)


PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", page.read_text())
    broken = [(name, anchor) for name, anchor in links if anchor not in anchors(page.parent / (name or page.name))]
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_contents_has_every_page() -> None:
    listed = set(re.findall(r"^\| \[([^\]]+)\]", (ROOT / "docs/README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} | {"start/"}


def test_every_room_has_its_place_on_the_architecture_page() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    told = set(re.findall(r"[\w/]+", page))
    rooms = {f"{path.parent.name}/" for path in (ROOT / "gateway").rglob("__init__.py")} - {"gateway/"}
    modules = {path.stem for path in (ROOT / "gateway").glob("*.py")} - {"__init__", "__main__"}
    assert (rooms | modules) - told == set()
