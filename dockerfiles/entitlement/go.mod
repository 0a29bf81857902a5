module nexus-oci.dev/entitlement

go 1.21
