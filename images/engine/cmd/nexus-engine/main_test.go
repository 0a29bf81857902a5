// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommands(t *testing.T) {
	policies := "--policies=../../policies"
	for _, c := range []struct {
		args string
		in   string
		code int
		want string
	}{
		{"--version", "", exitDone, "nexus-engine 0.0.0-dev (unknown) "},
		{"--help", "", exitDone, "Usage: nexus-engine"},
		{"admin schema", "", exitDone, "json-schema.org"},
		{"admin policies --json " + policies, "", exitDone, `"name": "release-gate"`},
		{"admin check-config " + policies, "", exitDone, "The configuration is valid. Policies: 3, sha256:"},
		{"admin check-config --policies=/nowhere", "", exitUsage, "cannot read the policy folder"},
		{"admin check-config --config=/nowhere", "", exitUsage, "cannot read the configuration"},
		{"admin evaluate --policy rate " + policies, `{"caller": {"plan": "developer"}}`, exitDone, `"effect": "allow"`},
		{"admin evaluate --policy rate --expect deny " + policies, `{"caller": {"plan": "developer"}}`, exitUnexpected, "the effect is allow"},
		{"admin evaluate --policy none " + policies, `{}`, exitFailed, `there is no policy named "none"`},
		{"admin health --http= --socket=/nowhere.sock", "", exitFailed, "no answer from /nowhere.sock"},
		{"stdio --http= --set log.level=error " + policies, `{"jsonrpc": "2.0", "id": 1, "method": "ready"}`, exitDone, `"status":"ready"`},
		{"sing", "", exitUsage, `there is no command "sing"`},
		{"serve --loud", "", exitUsage, "flag provided but not defined: -loud"},
		{"serve --set log.level=loud", "", exitUsage, `log.level is "loud"`},
	} {
		var out bytes.Buffer
		code := run(strings.Fields(c.args), environment{in: strings.NewReader(c.in), out: &out, err: &out})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s ends with %d:\n%s\nwant %d and %q", c.args, code, out.String(), c.code, c.want)
		}
	}
}
