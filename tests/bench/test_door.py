"""What a visitor of the bench was given is verified, if only afterwards."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from bench.authority import Authority
from bench.door import verify
from bench.errors import WrongAnswer


def test_a_certificate_is_good_for_its_name_under_its_root_alone(tmp_path: Path):
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    chain, _ = ours.leaf("a.bench.test")
    certificate = ssl.PEM_cert_to_DER_cert(chain.read_text())
    roots, foreign = (x509.load_pem_x509_certificates(each.root_file.read_bytes()) for each in (ours, others))
    verify("a.bench.test", certificate, roots)
    with pytest.raises(WrongAnswer, match=r"b\.bench\.test"):
        verify("b.bench.test", certificate, roots)
    with pytest.raises(WrongAnswer):
        verify("a.bench.test", certificate, foreign)
