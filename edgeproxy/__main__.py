"""`python -m edgeproxy` is `edgeproxy`."""

from edgeproxy.cli.main import main

if __name__ == "__main__":
    main()
