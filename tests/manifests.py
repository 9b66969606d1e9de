"""An invented manifest with everything in it: two series, a waveform, a report, an identity with all its traits."""

from datetime import datetime, timedelta, timezone

from drimbox.kos.manifest import Manifest, ManifestInstance, ManifestSeries
from drimbox.model import Identifier, Patient

CT, US, ECG, SR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.9.1.1",
    "1.2.840.10008.5.1.4.1.1.88.11",
)
BASE = "https://db1.example.test/rs/studies/1.2.250.1.999.2.101/series"

MANIFEST = Manifest(
    uid="2.25.329800735698586629295641978511506172918",
    series_uid="2.25.329800735698586629295641978511506172919",
    study_uid="1.2.250.1.999.2.101",
    study_date="20260102",
    study_time="102500.5",
    study_description="TDM thorax à jeun",
    study_id="S1",
    referring_physician="ADRESSEUR^Anne",
    accession=Identifier("ACN101", "1.2.250.1.999.5"),
    order=Identifier("OPN101", "1.2.250.1.999.6"),
    patient=Patient(
        ins=Identifier("268019911122233", "1.2.250.1.213.1.4.10", "ASIP-SANTE-INS-NIR"),
        local_id=None,
        family="INVENTEE",
        given="ZOE",
        birth_given_names="ZOE ANNE",
        used_family="INVENTEE-DURAND",
        used_given="ZOE",
        birth_date="19680101",
        sex="F",
        birth_place="2A004",
    ),
    created=datetime(2026, 1, 2, 11, 17, 0, 250, tzinfo=timezone(timedelta(hours=1))),
    institution="Centre d'imagerie Beta",
    structure_id="101235555",
    manufacturer="DRIMbox",
    instance_number=2,
    act="Scanographie du thorax",
    series=(
        ManifestSeries(
            series_uid="1.2.250.1.999.3.1",
            modality="CT",
            number=1,
            description="Thorax 1 mm : poumon",
            retrieve_url=f"{BASE}/1.2.250.1.999.3.1",
            instances=(ManifestInstance(CT, "1.2.250.1.999.4.1", 1), ManifestInstance(CT, "1.2.250.1.999.4.2", 2)),
        ),
        ManifestSeries(
            series_uid="1.2.250.1.999.3.2",
            modality="US",
            number=None,
            description="",
            retrieve_url=f"{BASE}/1.2.250.1.999.3.2",
            instances=(
                ManifestInstance(US, "1.2.250.1.999.4.3", 1, 8),
                ManifestInstance(ECG, "1.2.250.1.999.4.4"),
                ManifestInstance(SR, "1.2.250.1.999.4.5"),
            ),
        ),
    ),
)
