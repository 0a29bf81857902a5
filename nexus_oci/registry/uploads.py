"""Writing blobs (distribution-spec, "Pushing blobs"): mounted, in one stream, or in pieces that resume."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from nexus_oci.errors import NexusError, NotFoundError, RegistryError, VerificationError
from nexus_oci.oci.values import Descriptor, Digest
from nexus_oci.registry.auth import push_scope
from nexus_oci.registry.body import Body, Continued
from nexus_oci.registry.journal import Journal, Page
from nexus_oci.registry.retry import Backoff, TransientError
from nexus_oci.registry.transport import Answer, Call, Transport
from nexus_oci.transfer.ends import BlobStream, Outcome
from nexus_oci.transfer.flow import Flow

_RANGE = re.compile(r"(?:bytes=)?0-(\d+)\Z")
_NO_PIECES = frozenset({400, 404, 405, 413, 416, 501})
_BINARY = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True)
class _Session:
    """An upload under way: where it goes on, and how many bytes the registry has."""

    location: str
    offset: int = 0


class _PiecesRefusedError(NexusError):
    """The registry takes no PATCH as we send it; one PUT is tried instead."""


class Upload:
    """The upload of one blob to one repository."""

    def __init__(
        self,
        transport: Transport,
        repository: str,
        descriptor: Descriptor,
        open_stream: Callable[[], BlobStream],
        present: Callable[[], bool],
        progress: Callable[[int], None],
        journal: Journal,
        flow: Flow,
    ) -> None:
        self._transport = transport
        self._journal = journal
        self._flow = flow
        self._start_url = f"{transport.base}/v2/{repository}/blobs/uploads/"
        self._repository = repository
        self._scope = push_scope(repository)
        self._descriptor = descriptor
        self._content = Continued(open_stream)
        self._present = present
        self._progress = progress
        self._doing = f"writing blob {descriptor.digest.short} to {repository}"
        chosen = transport.settings
        self._may_be_cut = descriptor.size > chosen.chunk_size
        self._in_pieces = descriptor.size > max(chosen.chunk_size, chosen.whole_up_to)
        self._furthest = 0
        self._session: _Session | None = None
        self._continues = False
        self._page = Page(None, None, {}, transport.settings.pace.wall)

    def run(self, mount_from: str | None) -> Outcome:
        """Write the blob unless it is there; raises `RegistryError`, `NotFoundError` or `VerificationError`."""
        if self._present():
            return Outcome.PRESENT
        if mount_from and mount_from != self._repository and self._mount(mount_from):
            return Outcome.MOUNTED
        keeping = self._journal.page(self._transport.host, self._repository, self._descriptor)
        with self._flow.room(self._descriptor.size), contextlib.closing(self._content), keeping as self._page:
            if self._may_be_cut and self._session is None:
                self._take_up()
            self._until_sent()
            self._page.clear()
        return Outcome.SENT

    def _until_sent(self) -> None:
        backoff = self._transport.backoff()
        while True:
            try:
                self._send(self._session or self._start(), backoff)
            except _PiecesRefusedError:
                self._in_pieces, self._may_be_cut, self._session = False, False, None
            except TransientError as error:
                backoff.pause(error)
                if self._present():
                    return
                self._recover(backoff)
                # What broke once may break again: from now on no more than a piece is lost.
                self._in_pieces = self._may_be_cut
            except VerificationError:
                if not self._continues:
                    raise
                # What had arrived before may have been damaged: once more, from the start.
                self._continues, self._session = False, None
            else:
                return

    def _take_up(self) -> None:
        """Go on with what a process before this one began, if the registry still knows of it."""
        note = self._page.read()
        if note is None or not self._transport.is_own(note.location):
            return
        self._in_pieces = True
        self._session = _Session(location=note.location, offset=note.offset)
        self._recover(self._transport.backoff())
        self._continues = self._session is not None

    def _mount(self, other: str) -> bool:
        """Ask for the blob of another repository; where that is not granted, an upload begins or the registry refuses."""
        query = urlencode({"mount": str(self._descriptor.digest), "from": other})
        call = Call(
            method="POST",
            url=f"{self._start_url}?{query}",
            doing=f"mounting blob {self._descriptor.digest.short} from {other}",
            expect=frozenset({201, 202}),
            scope=push_scope(self._repository, other),
            body=b"",
        )
        try:
            answer = self._transport.fetch(call)
        except TransientError:
            raise
        except (RegistryError, NotFoundError):
            return False
        if answer.status == 202:
            self._session = self._next(answer, 0)
            return False
        # Some registries say «created» and mean an upload: only a digest, or a blob that shows, counts.
        return answer.headers.get("docker-content-digest") == self._descriptor.digest or self._present()

    def _start(self) -> _Session:
        call = Call(
            method="POST",
            url=self._start_url,
            doing=self._doing,
            expect=frozenset({202}),
            scope=self._scope,
            body=b"",
        )
        return self._next(self._transport.fetch(call), 0)

    def _send(self, session: _Session, backoff: Backoff) -> None:
        if self._in_pieces:
            self._send_pieces(session, backoff)
            return
        self._session = None
        if self._may_be_cut:
            self._note(session)
        self._finish(session, self._body(0, self._descriptor.size))

    def _send_pieces(self, session: _Session, backoff: Backoff) -> None:
        """PATCH after PATCH, then an empty PUT. Content that cannot be sought is read on from one to the next."""
        size, step = self._descriptor.size, self._transport.settings.chunk_size
        self._session = session
        self._note(session)
        while session.offset < size:
            count = min(step, size - session.offset)
            call = Call(
                method="PATCH",
                url=session.location,
                doing=self._doing,
                expect=frozenset({202, 404, 416}) if session.offset else frozenset({202, *_NO_PIECES}),
                scope=self._scope,
                headers={**_BINARY, "Content-Range": f"{session.offset}-{session.offset + count - 1}"},
                body=self._body(session.offset, count),
            )
            answer = self._transport.once(call)
            if answer.status != 202 and session.offset:
                raise TransientError(f"{self._transport.host} lost its place while {self._doing}")
            if answer.status != 202:
                raise _PiecesRefusedError(f"{self._transport.host} takes no pieces")
            self._session = session = self._next(answer, session.offset + count)
            self._note(session)
            self._advanced(session.offset, backoff)
        self._finish(session, b"")

    def _note(self, session: _Session) -> None:
        """Write down where the upload goes on, for the next process; registries that keep parts of a piece know better."""
        if self._transport.is_own(session.location):
            self._page.write(session.location, session.offset)

    def _advanced(self, offset: int, backoff: Backoff) -> None:
        if offset > self._furthest:
            self._furthest = offset
            backoff.progressed()

    def _finish(self, session: _Session, body: Body | bytes) -> None:
        digest = self._descriptor.digest
        separator = "&" if "?" in session.location else "?"
        call = Call(
            method="PUT",
            url=f"{session.location}{separator}{urlencode({'digest': str(digest)})}",
            doing=self._doing,
            expect=frozenset({201, 204, 404}),
            scope=self._scope,
            headers=_BINARY,
            body=body,
            timeout=self._transport.settings.commit_timeout,
        )
        answer = self._transport.once(call)
        if answer.status == 404:
            raise TransientError(
                f"{self._transport.host} forgot the upload while {self._doing}",
                why="it may be several servers that do not share their state",
                tries=3,
            )
        stored = answer.headers.get("docker-content-digest")
        if stored and stored.partition(":")[0] == digest.algorithm and Digest(stored) != digest:
            raise RegistryError(f"{self._transport.host} stored another blob while {self._doing}", why=f"it says {stored}")

    def _recover(self, backoff: Backoff) -> None:
        """Learn where a broken upload can go on, as the registry tells; otherwise it begins anew.

        docker-registry 2.8 forgets an upload that broke in the middle of a PATCH; others keep what came.
        """
        session, self._session = self._session, None
        if session is None:
            return
        call = Call(method="GET", url=session.location, doing=self._doing, expect=frozenset({200, 204}), scope=self._scope)
        try:
            answer = self._transport.fetch(call)
        except (RegistryError, NotFoundError):
            return
        match = _RANGE.match(answer.headers.get("range", ""))
        # «0-0» is what registries say of an upload without any byte.
        offset = int(match[1]) + 1 if match and match[1] != "0" else 0
        if offset <= self._descriptor.size:
            location = self._transport.locate(session.location, answer.headers.get("location") or session.location)
            self._session = _Session(location=location, offset=offset)
            self._advanced(offset, backoff)

    def _next(self, answer: Answer, offset: int) -> _Session:
        location = answer.headers.get("location")
        if not location:
            raise RegistryError(
                f"{self._transport.host} does not say where to go on while {self._doing}",
                why="its answer has no Location",
                hint="check that the address is a registry's and not a web page's",
            )
        return _Session(location=self._transport.locate(answer.url, location), offset=offset)

    def _body(self, offset: int, count: int) -> Body:
        to_end = offset + count == self._descriptor.size
        stream = functools.partial(self._content.at, offset)
        return Body(open=stream, length=count, offset=offset, to_end=to_end, progress=self._progress)
