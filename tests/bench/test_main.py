"""The command line."""

import pytest

from bench.__main__ import main


@pytest.mark.parametrize("arguments", [["--only", "h3"], ["--peers", "squid"], ["--rounds", "many"]])
def test_what_does_not_exist_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err
