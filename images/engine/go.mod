module nexus.example/engine

go 1.22
