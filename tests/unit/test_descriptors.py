"""The soft limit follows what is needed, up to the hard one; too little is told."""

import resource

import pytest

from drimbox.dicom_scp.descriptors import allow_descriptors


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "told"),
    [
        (1024, 1048576, 2256, False),
        (1024, resource.RLIM_INFINITY, 2256, False),
        (4096, 1048576, 4096, False),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, False),
        (1024, 2000, 2000, True),
        (1024, 1024, 1024, True),
    ],
)
def test_descriptors(soft, hard, expected, told, monkeypatch, caplog):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    allow_descriptors(1000)
    assert limits[-1] == (expected, hard)
    assert bool(caplog.records) is told
