"""Shows a transfer's events as activity of one step."""

from __future__ import annotations

from collections.abc import Callable

from nexus_oci.cli.display import Display
from nexus_oci.pipeline.progress import StepActivity
from nexus_oci.transfer.copy import TransferEvent


def transfer_events(display: Display, step: str) -> Callable[[TransferEvent], None]:
    """A callback that counts bytes under `step`."""
    sent = 0

    def show(event: TransferEvent) -> None:
        nonlocal sent
        sent += event.bytes
        if event.kind == "progress":
            display.activity(StepActivity(step=step, activity="moving bytes", done=sent))
        elif event.kind in ("sent", "mounted", "tagged"):
            name = event.name or event.descriptor.digest.short
            display.activity(StepActivity(step=step, activity=f"{event.kind} {name}", done=sent or None))

    return show
