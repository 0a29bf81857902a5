// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheShippedFileStatesTheDefaultsAndNothingIsMissing(t *testing.T) {
	c, err := Load(Sources{File: "../../config/runtime.toml"})
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := Load(Sources{})
	for i, line := range c.Lines() {
		if line.Value != plain.Lines()[i].Value || line.Origin == "default" {
			t.Errorf("%s is %s from %s; the default is %s", line.Key, line.Value, line.Origin, plain.Lines()[i].Value)
		}
	}
}

func TestTheShippedSchemaIsTheGeneratedOne(t *testing.T) {
	want, err := Schema()
	got, readErr := os.ReadFile("../../config/runtime.schema.json")
	if err != nil || readErr != nil || !bytes.Equal(got, want) {
		t.Fatalf("config/runtime.schema.json is stale (%v, %v): write `nexus-engine admin schema` to it", err, readErr)
	}
}

func TestCommandLineWinsOverEnvironmentOverFile(t *testing.T) {
	c, err := Load(Sources{
		File:    write(t, "[api]\nhttp_address = '[::1]:1'\nmax_body_bytes = 2048\n[log]\nlevel = \"warn\"\n"),
		Environ: []string{"NEXUS_LOG_LEVEL=error", "NEXUS_API_STDIO=true", "NEXUS_POLICIES_ONLY=a,b", "NEXUS_ENGINE_PORT=tcp://x"},
		Sets:    []string{"log.level=debug"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.API.HTTPAddress != "[::1]:1" || c.API.MaxBodyBytes != 2048 || !c.API.Stdio || c.Log.Level != "debug" ||
		strings.Join(c.Policies.Only, "+") != "a+b" {
		t.Fatalf("got %+v", c)
	}
}

func TestEveryFaultIsReportedWithItsPlace(t *testing.T) {
	file := write(t, "[api]\nhttp_adress = 'x:1'\nhttp_address = 'x'\ndrain_seconds = true\n[log]\nlevel = 'loud'\n")
	_, err := Load(Sources{File: file, Environ: []string{"NEXUS_API_STDIO=yes"}, Sets: []string{"oops", "colour.of.the.sea=1"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		file + `: line 2, column 1: unknown key "api.http_adress"; did you mean "api.http_address"?`,
		`line 3, column 16: api.http_address is "x"; expected a string like "127.0.0.1:8080"`,
		"line 4, column 17: api.drain_seconds is true; expected a whole number from 0 to 600",
		`line 6, column 9: log.level is "loud"; expected one of "debug", "info", "warn", "error"`,
		`environment variable NEXUS_API_STDIO: api.stdio is "yes"; expected true or false`,
		"--set oops: expected key=value",
		"`nexus-engine admin schema` lists them",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q:\n%v", want, err)
		}
	}
}

func TestServingNothingIsRefused(t *testing.T) {
	if _, err := Load(Sources{Sets: []string{"api.http_address="}}); err == nil || !strings.Contains(err.Error(), "nothing to serve") {
		t.Fatalf("got %v", err)
	}
}
