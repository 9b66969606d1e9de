"""A C-STORE SCP as the documentation of pynetdicom writes one, a file an instance: `pynetdicom_scp.py PORT FOLDER`."""

import sys
from pathlib import Path

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

PDU_BYTES = 131072


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    entity = AE("BENCH")
    entity.maximum_pdu_size = PDU_BYTES
    entity.maximum_associations = 100
    entity.supported_contexts = AllStoragePresentationContexts
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
