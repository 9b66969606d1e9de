"""A modality of pynetdicom that asks for storage commitment, and hears the reports (PS3.4 annex J)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import Verification

from drimbox.sandbox.nodes import free_port

PUSH, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
WAIT_S = 120


@dataclass
class Modality:
    """Who asks. told: event type, transaction, safe instances, reasons by failed instance. role: heard of as SCU."""

    port: int = field(default_factory=free_port)
    told: list[tuple[int, str, set[str], dict[str, int]]] = field(default_factory=list)
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    statuses: list[int] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def hear(self, event: Any) -> tuple[int, None]:
        said = event.event_information
        safe = {item.ReferencedSOPInstanceUID for item in said.get("ReferencedSOPSequence", [])}
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in said.get("FailedSOPSequence", [])}
        self.told.append((event.event_type, said.TransactionUID, safe, failed))
        status = self.statuses.pop(0) if self.statuses else 0x0000
        self.heard.release()
        return status, None

    @contextmanager
    def listening(self, roles: bool = True) -> Iterator[None]:
        """It takes associations of its archive, as modalities do. roles: it negotiates them."""
        ae = AE("MODALITY")
        if roles:
            ae.add_supported_context(PUSH, scu_role=True, scp_role=True)
        else:
            ae.add_supported_context(PUSH)
        called = (evt.EVT_ACCEPTED, lambda event: self.calls.append(event.assoc.requestor.ae_title))
        server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.hear), called]
        )
        try:
            yield
        finally:
            server.shutdown()

    def ask(
        self,
        archive: tuple[str, int],
        *references: tuple[str, str],
        transaction: str = "1.2.3",
        stay: bool = False,
        action: int = 1,
        sop: str = INSTANCE,
    ) -> int:
        """N-ACTION; its status. stay: keep the association until the report was heard on it.

        Else what comes before the release, which nobody can foresee, is answered "processing failure": say it again.
        """
        ae = AE("MODALITY")
        ae.add_requested_context(PUSH)
        ae.add_requested_context(Verification)
        association = ae.associate(
            *archive,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.hear if stay else _hear_nothing)],
            ext_neg=[build_role(PUSH, True)],
        )
        assert association.is_established
        made = Dataset()
        made.TransactionUID = transaction
        made.ReferencedSOPSequence = []
        for sop_class, sop_instance in references:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            made.ReferencedSOPSequence.append(item)
        try:
            status, _ = association.send_n_action(made, action, PUSH, sop)
            if stay:
                assert self.heard.acquire(timeout=WAIT_S)
                association.send_c_echo()  # else the release may overtake the answer to the report
            return int(status.Status)
        finally:
            association.release()


def _hear_nothing(_event: Any) -> tuple[int, None]:
    return 0x0110, None
