"""kill -9 between the request of a commitment and its report: the report arrives all the same (promise P4)."""

import asyncio
import signal

from making import STUDY, ct
from modality_stage import WAIT_S, Modality
from network import running

from drimbox.pacs.store import send_files

CT = "1.2.840.10008.5.1.4.1.1.2"


async def test_a_report_that_is_owed_survives_kill_9(tmp_path):
    modality = Modality()
    ct().save_as(tmp_path / "one.dcm", enforce_file_format=True)
    destinations = [{"ae_title": "MODALITY", "host": "127.0.0.1", "port": modality.port}]
    async with running(tmp_path, dicom={"destinations": destinations}) as site:
        place = ("127.0.0.1", site.node.dicom_port)
        await asyncio.to_thread(send_files, [tmp_path / "one.dcm"], *place, "MODALITY", "NODE")
        asked = [(CT, f"{STUDY}.1.1"), (CT, "1.2.3.4.5")]
        assert await asyncio.to_thread(modality.ask, place, *asked) == 0x0000
        await site.node.stop(signal.SIGKILL)
        assert not modality.told
        with modality.listening():
            await site.node.start()
            assert await asyncio.to_thread(modality.heard.acquire, timeout=WAIT_S)
        assert modality.told[0] == (2, "1.2.3", {f"{STUDY}.1.1"}, {"1.2.3.4.5": 0x0112})
