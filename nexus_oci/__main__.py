"""`python -m nexus_oci`."""

from nexus_oci.cli.main import main

if __name__ == "__main__":
    main()
