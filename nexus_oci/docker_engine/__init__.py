"""The container engine, through docker-py, which is imported nowhere else: builds, bases, export, containers.

`connect` gives an `Engine`; importing this package imports nothing heavy.
"""

from nexus_oci.docker_engine.build import BuildRequest
from nexus_oci.docker_engine.containers import ContainerRequest, Mount, RunningContainer, RunResult
from nexus_oci.docker_engine.engine import BASE_LABEL, LABEL_PREFIX, TEMPORARY_LABEL, Engine, connect
from nexus_oci.docker_engine.events import ByteEvent, Event, LogEvent, Progress, StepEvent, silent
from nexus_oci.docker_engine.failure import StageError
from nexus_oci.docker_engine.images import EngineImage
from nexus_oci.docker_engine.prepared import PreparedContainer

__all__ = [
    "BASE_LABEL",
    "LABEL_PREFIX",
    "TEMPORARY_LABEL",
    "BuildRequest",
    "ByteEvent",
    "ContainerRequest",
    "Engine",
    "EngineImage",
    "Event",
    "LogEvent",
    "Mount",
    "PreparedContainer",
    "Progress",
    "RunResult",
    "RunningContainer",
    "StageError",
    "StepEvent",
    "connect",
    "silent",
]
