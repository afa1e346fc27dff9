from edgeproxy.config.issuance import Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen, Tls
from edgeproxy.limits import Limits
from edgeproxy.supervision import reloading
from edgeproxy.supervision.reloading import RESTART_ONLY, changed_keys, refusal, summary


def test_changed_keys_are_named_by_their_path_and_never_by_value() -> None:
    before = Config()
    after = Config(
        issuance=Issuance(on_demand=False, email="secret@example.com"), tls=Tls(minimum="1.3"), limits=Limits(connections=7)
    )
    assert sorted(changed_keys(before, after)) == ["issuance.email", "issuance.on_demand", "limits.connections", "tls.minimum"]
    assert changed_keys(before, before) == []


def test_what_hangs_on_the_first_fork_needs_a_restart() -> None:
    changed = changed_keys(Config(), Config(state=State(directory="/elsewhere"), tls=Tls(minimum="1.3")))
    text = refusal(changed)
    assert "state.directory" in text
    assert "tls.minimum" not in text
    assert "restart" in text
    assert refusal(["tls.minimum", "listen.https"]) == ""


def test_every_key_that_needs_a_restart_exists() -> None:
    for key in RESTART_ONLY:
        table, _, name = key.partition(".")
        assert name in getattr(Config(), table).__struct_fields__


def test_only_so_many_configurations_may_drain_at_once() -> None:
    assert reloading.crowded([]) == ""
    assert reloading.crowded([1, 1, 1, 1] * reloading.GENERATIONS) == ""
    assert reloading.crowded(range(1, reloading.GENERATIONS)) == ""
    assert f"{reloading.GENERATIONS} earlier configurations" in reloading.crowded([*range(1, reloading.GENERATIONS + 1), 1])


def test_the_summary_says_what_is_in_effect() -> None:
    changed = reloading.changed_keys(Config(), Config(listen=Listen(https=("0.0.0.0:8443",))))
    text = summary(3, 1, changed, ["0.0.0.0:8443"], ["0.0.0.0:443"])
    assert text.startswith("Configuration 3 is in effect, with 1 worker;")
    for part in ("also listening on 0.0.0.0:8443", "no longer listening on 0.0.0.0:443", "changed: listen.https"):
        assert part in text
    assert "no key has another value" in summary(2, 2, [], [], [])
