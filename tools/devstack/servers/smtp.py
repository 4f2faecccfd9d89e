"""The SMTP sink: a real SMTP server that keeps each mail as a line of JSON under the stack."""

import sys

from typing_extensions import override

from devstack import probe
from devstack.part import Part, Site
from devstack.process import Launch


class SmtpServer(Part):
    name = "smtp"
    port_keys = ("smtp",)
    ready_within_seconds = 30.0
    stop_within_seconds = 5.0

    @override
    def launch(self, site: Site) -> Launch:
        argv = (
            *(sys.executable, "-P", "-m", "devstack.smtp_sink"),
            *("--port", str(site.port("smtp")), "--folder", str(site.layout.mails)),
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        return probe.greets(site.port("smtp"), b"220")

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {
            "DOORBUSTER_SMTP_URL": f"smtp://127.0.0.1:{site.port('smtp')}",
            "DOORBUSTER_SMTP_SINK_DIR": str(site.layout.mails),
        }
