"""What is written is what is read."""

from contextlib import suppress
from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from drimbox.errors import DrimboxError
from drimbox.kos.build import build_manifest
from drimbox.kos.manifest import Manifest, ManifestInstance, ManifestSeries
from drimbox.kos.read import read_manifest
from drimbox.model import Identifier, Patient

_LETTERS = "ABCXYZabcxyz019 '-.:@éèçœÿ€漢"
uids = st.lists(st.integers(0, 10**9), min_size=2, max_size=5).map(lambda arcs: ".".join(map(str, arcs)))
texts = st.text(_LETTERS, max_size=40).map(str.strip)
names = st.text("ABCXYZ '-ÉÇ", max_size=20).map(str.strip)
shorts = st.text("ABCXYZ019-", min_size=1, max_size=16)
numbers = st.none() | st.integers(0, 2**31 - 1)
classes = st.sampled_from(
    ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.9.1.1"]
)
identifiers = st.builds(Identifier, shorts, uids | st.just(""), texts)
ins = st.builds(
    Identifier,
    st.from_regex(r"[12][0-9]{14}", fullmatch=True),
    st.sampled_from(["1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.10"]),
    st.just("ASIP-SANTE-INS-NIR"),
)
offsets = st.integers(-14 * 60 + 1, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instances = st.builds(ManifestInstance, classes, uids, numbers, numbers)


@st.composite
def patients(draw: st.DrawFn) -> Patient:
    """A used given name alone could be read as the list of given names: it goes with a used family name here."""
    given_name = draw(names)
    more = draw(st.none() | names)
    used_family = draw(names)
    return Patient(
        ins=draw(ins),
        local_id=None,
        family=draw(names.filter(bool)),
        given=given_name,
        birth_given_names=f"{given_name} {more}".strip() if more is not None and given_name else "",
        used_family=used_family,
        used_given=draw(names) if used_family else "",
        birth_date=draw(st.just("") | st.dates().map(lambda date: date.strftime("%4Y%m%d"))),
        sex=draw(st.sampled_from(["M", "F", "U", ""])),
        birth_place=draw(st.from_regex(r"([0-9]{5}|2[AB][0-9]{3})?", fullmatch=True)),
    )


series = st.builds(
    ManifestSeries,
    uids,
    st.sampled_from(["CT", "MR", "SR", ""]),
    numbers,
    texts,
    uids.map(lambda uid: f"https://box.example.test/rs/studies/1/series/{uid}") | st.just(""),
    st.lists(instances, min_size=1, max_size=4).map(tuple),
)

manifests = st.builds(
    Manifest,
    uid=uids,
    series_uid=uids,
    study_uid=uids,
    study_date=st.sampled_from(["", "20260102"]),
    study_time=st.sampled_from(["", "10", "102500", "102500.125"]),
    study_description=texts,
    study_id=st.just("") | shorts,
    referring_physician=names,
    accession=st.none() | identifiers,
    order=st.none() | identifiers,
    patient=patients(),
    created=st.datetimes(datetime(1000, 1, 1), timezones=offsets),
    institution=texts.map(lambda text: text[:30].strip()),
    structure_id=st.just("") | shorts,
    manufacturer=texts,
    instance_number=st.integers(1, 10**6),
    act=texts,
    series=st.lists(series, min_size=1, max_size=3, unique_by=lambda item: item.series_uid).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest):
    assert read_manifest(build_manifest(manifest)) == manifest


@settings(max_examples=150, deadline=None)
@given(manifests, st.data())
def test_a_damaged_manifest_is_read_or_refused(manifest, data):
    damaged = bytearray(build_manifest(manifest))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(132, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DrimboxError):
        read_manifest(bytes(damaged))
