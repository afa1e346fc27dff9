"""The whole configuration, as frozen structs: here its tables, each table's keys in the module of its room.

A field's docstring is the operator's manual for it: `config/edgeproxy.toml`, the documented sample, is generated from them.
Unknown keys are errors. What a key means belongs beside it; whether values fit together is decided in `check.py`.
"""

from __future__ import annotations

from edgeproxy.config.compression import Compression
from edgeproxy.config.dns import Dns
from edgeproxy.config.entitlement import Entitlement
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import Admin, Process, State, Store, Workers
from edgeproxy.config.mail import Mail
from edgeproxy.config.monitoring import Alerts, Log, Metrics
from edgeproxy.config.pages import Pages
from edgeproxy.config.platform import Api, Origin, Platform
from edgeproxy.config.rates import Rates
from edgeproxy.config.section import Section
from edgeproxy.config.verification import Verification
from edgeproxy.config.visitors import Http, Listen, Timeouts, Tls
from edgeproxy.config.webhooks import Webhooks
from edgeproxy.limits import Limits


class Config(Section, frozen=True):
    """The whole configuration."""

    listen: Listen = Listen()
    process: Process = Process()
    state: State = State()
    store: Store = Store()
    workers: Workers = Workers()
    admin: Admin = Admin()
    api: Api = Api()
    platform: Platform = Platform()
    origin: Origin = Origin()
    issuance: Issuance = Issuance()
    dns: Dns = Dns()
    webhooks: Webhooks = Webhooks()
    entitlement: Entitlement = Entitlement()
    mail: Mail = Mail()
    verification: Verification = Verification()
    http: Http = Http()
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    rates: Rates = Rates()
    compression: Compression = Compression()
    pages: Pages = Pages()
    log: Log = Log()
    metrics: Metrics = Metrics()
    alerts: Alerts = Alerts()
