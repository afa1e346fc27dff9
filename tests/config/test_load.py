"""From file and environment to a configuration, or to sentences about every fault."""

import importlib.util
import os

import pytest

from edgeproxy.config.load import load
from edgeproxy.errors import ConfigError
from edgeproxy.units import Duration, Size

GOOD = 'issuance.directory = "internal"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "edgeproxy.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def faults(path, environ=()):
    with pytest.raises(ConfigError) as caught:
        load(path, dict(environ))
    return caught.value.detail.replace(str(path), "FILE").splitlines()


def test_a_short_file_gives_defaults_for_the_rest(write):
    config = load(write(GOOD + '[timeouts]\nidle = "5m"\n[limits]\nrequest_head = "16KiB"\nrequest_line="8KiB"'), {})
    assert config.issuance.directory == "internal"
    assert config.timeouts.idle == 300.0
    assert isinstance(config.timeouts.idle, Duration)
    assert config.limits.request_head == 16384
    assert isinstance(config.limits.request_head, Size)
    assert config.listen.https == ("0.0.0.0:443", "[::]:443")


def test_names_and_addresses_come_out_normalised(write):
    config = load(
        write(
            GOOD
            + '[platform]\nname = "VE.ai."\ncname_target = "bücher.VE.ai"\naddresses = ["2001:DB8::0"]\n'
            + '[origin]\nurl = "http://App.example:3000/"\nheader = "Workspace-Id"\n'
        ),
        {},
    )
    assert config.platform.name == "ve.ai"
    assert config.platform.cname_target == "xn--bcher-kva.ve.ai"
    assert config.platform.addresses == ("2001:db8::",)
    assert config.origin.header == "workspace-id"


def test_every_fault_is_told_in_one_run_with_its_line(write):
    text = """\
[listen]
https = ["443"]
htps = []
public_https_port = "443"
[orign]
url = "x"
[origin]
url = "ftp://example.com"
[timeouts]
idle = 30
[workers]
count = 1000
[issuance]
directory = "internal"
on_demand = "yes"
"""
    told = faults(write(text))
    assert [line.split(": ")[:2] for line in told] == [
        ["FILE:2", "listen.https"],
        ["FILE:3", "listen.htps"],
        ["FILE:4", "listen.public_https_port"],
        ["FILE:5", "orign"],
        ["FILE:8", "origin.url"],
        ["FILE:10", "timeouts.idle"],
        ["FILE:12", "workers.count"],
        ["FILE:15", "issuance.on_demand"],
    ]
    assert "did you mean 'https'?" in told[1]
    assert "did you mean 'origin'?" in told[3]
    assert '"5m"' in told[5]
    assert told[7] == 'FILE:15: issuance.on_demand: "yes" is a text; write true or false'


def test_a_key_in_the_wrong_table_is_sent_to_the_right_one(write):
    assert "did you mean 'issuance.email'?" in faults(write(GOOD + '[platform]\nemail = "a@b"'))[0]


def test_an_unknown_key_like_no_other_is_answered_with_all_there_are(write):
    assert faults(write(GOOD + "[workers]\nzzzzzz = 1")) == [
        "FILE:3: workers.zzzzzz: there is no such key; [workers] has count"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[listen\n", ":1: this is not TOML"),
        (
            "a = 1\n[state]\ndirectory = /var/lib\n",
            ":3: this is not TOML: invalid value in column 13; a text stands in quotes: dir",
        ),
        ("[state]\n[state]\n", ":2: this is not TOML: this key or table is there already; keep one of them"),
        ("[state]\ndirectory\n", ":2: this is not TOML: expected '=' after a key in a key/value pair in column 10; a line is"),
        (b"a = 1\nb = '\xff'\n", ":2: this is not UTF-8; save the file as UTF-8 text"),
        ("x = [1,\n", ":1: this is not TOML"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(write, text, told):
    assert faults(write(text))[0].startswith("FILE" + told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('store.url = "postgresql://db/edge"', 'store.url: PostgreSQL is not built yet; write "sqlite:///edgeproxy.db"'),
    ],
)
def test_what_comes_later_is_refused_in_one_sentence(write, text, told):
    (line,) = faults(write(GOOD + text))
    assert line.startswith(f"FILE:2: {told}")


def test_empty_lists_of_later_options_are_fine(write):
    load(write(GOOD + "listen.proxy_protocol = []\nissuance.fallback = []\ndns.resolvers = []\napi.cors_origins = []"), {})


def test_a_missing_agreement_is_told_though_no_line_has_it(tmp_path):
    told = faults(None)
    assert len(told) == 1
    assert told[0].startswith("configuration: issuance.agree_terms: certificates come from https://acme-v02")


def test_a_fault_of_one_key_brings_no_second_one_of_a_key_that_looks_at_it(write):
    assert len(faults(write(GOOD + '[origin]\nurl = "nonsense"\nrouting = "subdomain"'))) == 1


# the environment


def test_variables_override_the_file(write):
    environ = {
        "EDGEPROXY_ORIGIN__URL": "http://10.0.0.1:8000",
        "EDGEPROXY_WORKERS__COUNT": "3",
        "EDGEPROXY_ISSUANCE__ALLOW__REGISTERED": "false",
        "EDGEPROXY_LISTEN__HTTPS": '["127.0.0.1:8443"]',
        "EDGEPROXY_TLS__MINIMUM": "1.3",
        "EDGEPROXY_PLATFORM__NAME": '"ve.ai"',
        "EDGEPROXY_ISSUANCE__EAB": '{ key_id = "a", hmac_key = "b" }',
        "EDGEPROXY_ISSUANCE__EAB__KEY_ID": "c",
        "EDGEPROXY_PORT": "tcp://1.2.3.4",
        "EDGEPROXY_SERVICE_HOST": "x",
        "OTHER__THING": "x",
    }
    config = load(write(GOOD + "[workers]\ncount = 1"), environ)
    assert config.origin.url == "http://10.0.0.1:8000"
    assert config.workers.count == 3
    assert config.issuance.allow.registered is False
    assert config.listen.https == ("127.0.0.1:8443",)
    assert config.tls.minimum == "1.3"
    assert config.platform.name == "ve.ai"
    assert (config.issuance.eab.key_id, config.issuance.eab.hmac_key) == ("c", "b")


def test_faults_of_variables_name_the_variable(write):
    told = faults(write(GOOD), {"EDGEPROXY_WORKERS__COUNT": "many", "EDGEPROXY_ORIGN__URL": "x"})
    assert told == [
        "environment variable EDGEPROXY_ORIGN__URL: orign: there is no such key; did you mean 'origin'?",
        'environment variable EDGEPROXY_WORKERS__COUNT: workers.count: "many" is a text; write a whole number, without quotes',
    ]


def test_a_variable_with_one_underscore_too_few_is_told_instead_of_ignored(write):
    nothing = "nothing reads it;"
    told = faults(write(GOOD), {"EDGEPROXY_ORIGIN_URL": "http://a:1", "EDGEPROXY_ISSUANCE_EAB_KEY_ID": "x"})
    assert told == [
        f"environment variable EDGEPROXY_ISSUANCE_EAB_KEY_ID: {nothing} issuance.eab.key_id is EDGEPROXY_ISSUANCE__EAB__KEY_ID",
        f"environment variable EDGEPROXY_ORIGIN_URL: {nothing} origin.url is EDGEPROXY_ORIGIN__URL",
    ]


def test_a_variable_cannot_smuggle_in_a_second_key(write):
    assert "control character" in faults(write(GOOD), {"EDGEPROXY_PROCESS__USER": '"a"\nb = 1'})[0]


# values from files


def test_a_value_is_read_from_a_file_without_its_last_line_break(write, tmp_path):
    secret = tmp_path / "hmac"
    secret.write_text("c2VjcmV0\n")
    secret.chmod(0o640)
    config = load(write(GOOD + f'[issuance.eab]\nkey_id = "k"\nhmac_key = "file:{secret}"'), {})
    assert config.issuance.eab.hmac_key == "c2VjcmV0"


@pytest.mark.parametrize(("mode", "told"), [(0o644, "may read it"), (0o602, "may write it")])
def test_a_file_with_a_cas_secret_is_nobody_elses(write, tmp_path, mode, told):
    secret = tmp_path / "hmac"
    secret.write_text("c2VjcmV0\n")
    secret.chmod(mode)
    (fault,) = faults(write(GOOD + f'[issuance.eab]\nkey_id = "k"\nhmac_key = "file:{secret}"'))
    assert f"everybody on this machine {told}" in fault
    assert "chmod 600" in fault
    assert "c2VjcmV0" not in fault


def test_the_state_key_stays_a_reference(write, tmp_path):
    assert load(write(GOOD + 'state.key = "file:/nowhere/state.key"'), {}).state.key == "file:/nowhere/state.key"


def test_what_a_file_holds_is_never_quoted(write, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2 hunter2")
    secret.chmod(0o600)
    keys = ("origin.url", "issuance.eab.hmac_key", "log.level", "timeouts.idle")
    text = GOOD + "\n".join(f'{key} = "file:{secret}"' for key in keys)
    told = "\n".join(faults(write(text)))
    assert "hunter2" not in told
    assert told.count(str(secret)) == 4


def test_a_wrong_state_key_is_never_quoted(write):
    told = faults(write(GOOD + 'state.key = "abcdef0123"'))
    assert told == ['FILE:2: state.key: the key is not 64 hexadecimal digits; write those, or "file:/PATH", or leave it out']


def test_files_that_cannot_be_values_are_told(write, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 65537)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    for name, told in {
        "missing": "there is no such file",
        "large": "it has more than 64KiB",
        "binary": "this is not UTF-8 text",
        ".": "this is a folder",
        "pipe": "this is no regular file",
    }.items():
        assert told in faults(write(GOOD + f'issuance.email = "file:{tmp_path}/{name}"'))[0]
    assert "is not absolute" in faults(write(GOOD + 'issuance.email = "file:secret"'))[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_says_who_would_need_to(write):
    path = write(GOOD)
    path.chmod(0)
    assert "may not read it" in faults(path)[0]


def test_a_missing_file_is_told_by_name(tmp_path):
    assert faults(tmp_path / "no.toml") == ["FILE: there is no such file; check the path, or make the file"]


def test_a_folder_is_told_by_name(tmp_path):
    assert faults(tmp_path) == ["FILE: this is a folder; name a file"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("origin = 5", "origin: 5 stands where a table belongs"),
        ("[listen]\nhttps = \"0.0.0.0:443\"", 'listen.https: this is a text; a list belongs here: ["0.0.0.0:443"]'),
        ("[listen]\nhttps = [443]", 'listen.https: this is a number; a text belongs here, in quotes: "443"'),
        ("[listen]\nhttps = []", "listen.https: the list is empty"),
        ("[state]\ndirectory = \"\"", "state.directory: the text is empty"),
        ("[state]\ndirectory = \"a\\nb\"", "state.directory: there is a line break"),
        ("[state]\ndirectory = 2024-01-01", "state.directory: this is a date or time; a text belongs here, in quotes"),
        ("[http]\nh2 = 1", "http.h2: 1 is a number; write true or false"),
        ("[workers]\ncount = true", "workers.count: true is true or false; write a whole number"),
        ("[tls]\nminimum = 1.2", 'tls.minimum: 1.2 is none of the choices; write "1.2" or "1.3"'),
        ("[limits]\nrequest_head = \"64 KB\"", "limits.request_head: \"64 KB\" is no size; "),
        ("[limits]\nrequest_head = 5", "limits.request_head: 5B is outside what is possible; write 1KiB to 1MiB"),
        ("[timeouts]\nidle = \"0s\"", "timeouts.idle: 0ms is outside what is possible"),
        ("[platform]\nreserved = [\"\"]", 'platform.reserved: "" is in the list'),
    ],
)  # fmt: skip
def test_wrong_types_say_what_would_be_right(write, text, told):
    line = faults(write(f'issuance = {{ directory = "internal" }}\n{text}\n'))[0]
    assert told in line


@pytest.mark.parametrize("key", ["origin.ca_bundle", "issuance.ca_bundle"])
def test_a_bundle_without_certificates_is_told_before_it_is_needed(write, tmp_path, key):
    bundle = tmp_path / "roots.pem"
    assert "roots.pem: there is no such file" in faults(write(GOOD + f'{key} = "{bundle}"'))[0]
    bundle.write_text("not a certificate")
    assert "roots.pem: there is no certificate in it" in faults(write(GOOD + f'{key} = "{bundle}"'))[0]
    bundle.write_text("-----BEGIN CERTIFICATE-----")
    load(write(GOOD + f'{key} = "{bundle}"'), {})


def test_users_and_groups_that_the_machine_does_not_have_are_told_all_at_once(write):
    told = faults(write(GOOD + '[process]\nuser = "nobody-such"\nworker_user = "nobody"\ngroup = "no-such-group"'))
    assert told == [
        (
            "FILE:3: process.user: there is no user 'nobody-such' on this machine; "
            "make one: useradd --system --no-create-home nobody-such"
        ),
        "FILE:5: process.group: there is no group 'no-such-group' on this machine; make one: groupadd --system no-such-group",
    ]
    told = faults(write(GOOD), {"EDGEPROXY_PROCESS__WORKER_USER": "nobody-such"})
    assert told[0].startswith("environment variable EDGEPROXY_PROCESS__WORKER_USER: process.worker_user: there is no user")


def test_alerts_need_the_optional_part_that_sends_them(write, monkeypatch):
    text = GOOD + '[alerts]\nnotify = ["json://hush@127.0.0.1/"]\n'
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (line,) = faults(write(text))
    assert "alerts.notify: it needs apprise, which is not installed beside edgeproxy; run pip install apprise" in line
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    assert load(write(text), {}).alerts.notify == ("json://hush@127.0.0.1/",)
    (line,) = faults(write(GOOD + '[alerts]\nnotify = ["hush"]\n'))
    assert "this is not a URL of apprise" in line
    assert "hush" not in line.partition("alerts.notify")[2]
