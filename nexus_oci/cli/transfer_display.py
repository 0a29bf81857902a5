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
        if event.kind == "tagged":
            display.activity(StepActivity(step=step, activity=f"named {event.name}"))
        elif event.kind in ("progress", "mounted"):
            display.activity(StepActivity(step=step, activity="moving blobs", done=sent or None))

    return show
