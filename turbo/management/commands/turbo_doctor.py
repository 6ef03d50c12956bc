"""``manage.py turbo_doctor``: check the setup, and send a message."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from turbo.checks.finding import Finding, examiners
from turbo.checks.installation import examine_installation
from turbo.checks.live import probe_all
from turbo.checks.site import probe_site
from turbo.replay import get_replay

__all__ = ["Command"]

MARKS = {"ok": "ok  ", "warning": "note", "failure": "FAIL"}


class Command(BaseCommand):
    """Print the result of each check, and fail if anything does not work."""

    help = "Check the settings, and send a message to a subscriber."
    # This command prints the results of these checks itself.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the URL of a page."""
        parser.add_argument(
            "url",
            nargs="?",
            help="A page of the running site, whose WebSocket is opened too.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run all checks, and print their results."""
        findings = list(examine_installation())
        for examine in examiners:
            findings += examine()
        for finding in findings:
            self._tell(finding)
        findings += asyncio.run(self._probe())
        if options["url"]:
            findings.append(probe_site(options["url"]))
            self._tell(findings[-1])
        failures = sum(finding.decision == "failure" for finding in findings)
        if failures:
            raise CommandError(f"{failures} of {len(findings)} checks failed.")
        self.stdout.write("Messages get through.")

    async def _probe(self) -> list[Finding]:
        findings = []
        try:
            async for finding in probe_all():
                self._tell(finding)
                findings.append(finding)
        finally:
            # The channel layer closes its own connections when the loop ends.
            await get_replay().aclose()
        return findings

    def _tell(self, finding: Finding) -> None:
        styles = {
            "ok": self.style.SUCCESS,
            "warning": self.style.WARNING,
            "failure": self.style.ERROR,
        }
        mark = styles[finding.decision](MARKS[finding.decision])
        self.stdout.write(f"{mark}  {finding.text}")
        if finding.hint:
            self.stdout.write(f"      {finding.hint}")
