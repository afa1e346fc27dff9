"""Certificates that somebody brings: what was uploaded becomes a chain that can be served, or a sentence that says why not."""

from edgeproxy.control.issuance.upload.chain import Roots
from edgeproxy.control.issuance.upload.read import Upload, read_upload

__all__ = ["Roots", "Upload", "read_upload"]
