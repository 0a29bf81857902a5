// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nexus.example/engine/internal/config"
)

func configure(t *testing.T, sets ...string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Sources{Sets: append([]string{"policies.directory=../../policies"}, sets...)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loaded(t *testing.T, sets ...string) *Service {
	t.Helper()
	s := NewService(configure(t, sets...), Build{Version: "1.2.3", Commit: "abc", OS: "linux", Arch: "amd64"})
	if err := s.Load(); err != nil {
		t.Fatal(err)
	}
	s.setStatus("ready")
	return s
}

func call(s *Service, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func TestTheShippedPoliciesGiveTheRightAnswers(t *testing.T) {
	s := loaded(t)
	for _, c := range []struct{ policy, input, effect, matched, outputs string }{
		{"access", `{"user": {"role": "admin"}, "request": {"address": "10.1.2.3"}}`, "allow", "[admin-from-the-office]", ""},
		{"access", `{"user": {"role": "admin"}, "request": {"address": "203.0.113.9"}}`, "review", "[admin-from-elsewhere]", ""},
		{"access", `{"user": {"role": "admin", "suspended": true}, "request": {"address": "10.1.2.3"}}`, "deny", "[suspended]", ""},
		{"access", `{"user": {"role": "member", "teams": ["documents"]}, "request": {"action": "write", "path": "/documents/a-1"}}`,
			"allow", "[own-documents]", ""},
		{"access", `{"request": {"action": "read", "path": "/public/x"}}`, "allow", "[public]", ""},
		{"access", `{}`, "deny", "[]", ""},
		{"rate", `{"caller": {"plan": "regulated"}}`, "allow", "[enterprise]", `{"burst":600,"requests_per_minute":6000}`},
		{"rate", `{"caller": {"plan": "enterprise", "requests_last_minute": 9000}}`, "review", "[burst enterprise]",
			`{"burst":600,"requests_per_minute":60}`},
		{"release-gate", `{"release": {"signed": true, "sbom": "spdx"}}`, "allow", "[]", ""},
		{"release-gate", `{"release": {"signed": true}, "approvals": ["a", "b"], "vulnerabilities": {"high": 2}}`,
			"review", "[high-vulnerability no-sbom approved]", ""},
		{"release-gate", `{"release": {"sbom": "spdx"}}`, "deny", "[unsigned]", ""},
	} {
		for range 2 { // the second answer comes from the cache
			d, err := s.Evaluate(Request{Policy: c.policy, Input: json.RawMessage(c.input)})
			outputs, _ := json.Marshal(d.Outputs)
			if err != nil || string(d.Effect) != c.effect || "["+strings.Join(d.Matched, " ")+"]" != c.matched ||
				c.outputs != "" && string(outputs) != c.outputs {
				t.Errorf("%s of %s gives %+v, %v", c.policy, c.input, d, err)
			}
		}
	}
	if hits, misses := s.cache.Counts(); hits != 11 || misses != 11 {
		t.Errorf("the cache counted %d hits and %d misses", hits, misses)
	}
}

func TestHTTPAnswers(t *testing.T) {
	s := loaded(t, "api.max_body_bytes=1024")
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/healthz", "", 200, `{"status":"ok"}`},
		{"GET", "/readyz", "", 200, `{"status":"ready","policies":3,"policies_digest":"sha256:`},
		{"GET", "/version", "", 200, `{"version":"1.2.3","commit":"abc","os":"linux","arch":"amd64"}`},
		{"GET", "/v1/policies", "", 200, `{"policies":[{"name":"access","description":"Who may do what`},
		{"GET", "/v1/policies/rate", "", 200, `{"name":"rate"`},
		{"GET", "/v1/policies/none", "", 404, `{"error":{"code":"unknown-policy"`},
		{"POST", "/v1/evaluate", `{"policy": "access", "input": {}}`, 200, `"effect":"deny","matched":[],"reasons":["no rule allows this"]}`},
		{"POST", "/v1/evaluate", `{"policy": "access", "input": {}, "explain": true}`, 200, `"explanation":[{"rule":"suspended","matched":false`},
		{"POST", "/v1/evaluate", `{"policy": "none", "input": {}}`, 404, `{"error":{"code":"unknown-policy"`},
		{"POST", "/v1/evaluate", `{"policy": "access", "input": []}`, 400, `input: expected a JSON object`},
		{"POST", "/v1/evaluate", `{"policy": "access"}`, 400, `input: missing`},
		{"POST", "/v1/evaluate", `{"policy": "access", "colour": 1}`, 400, `unknown field \"colour\"`},
		{"POST", "/v1/evaluate", `{`, 400, `{"error":{"code":"bad-request"`},
		{"POST", "/v1/evaluate", strings.Repeat(" ", 1025), 413, `{"error":{"code":"too-large"`},
		{"GET", "/v1/evaluate", "", 405, ""},
		{"GET", "/metrics", "", 200, "nexus_engine_evaluations_total{policy=\"access\",effect=\"deny\"} 2\n"},
	} {
		if status, body := call(s, c.method, c.path, c.body); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s %s gives %d %s; want %d %s", c.method, c.path, c.body, status, body, c.status, c.want)
		}
	}
}

func TestNothingIsReadyBeforeThePoliciesAreLoaded(t *testing.T) {
	s := NewService(configure(t), Build{})
	if status, body := call(s, "GET", "/readyz", ""); status != 503 || !strings.Contains(body, `"status":"starting"`) {
		t.Errorf("readyz gives %d %s", status, body)
	}
	if status, _ := call(s, "GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz gives %d", status)
	}
	if status, body := call(s, "POST", "/v1/evaluate", `{"policy": "access", "input": {}}`); status != 503 {
		t.Errorf("evaluate gives %d %s", status, body)
	}
}

func TestAFailedReloadKeepsThePoliciesLoadedBefore(t *testing.T) {
	s := loaded(t)
	s.config.Policies.Directory = t.TempDir()
	for name, text := range map[string]string{"a.json": `{"name": 1}`, "b.json": `{`} {
		if err := os.WriteFile(filepath.Join(s.config.Policies.Directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Load()
	if err == nil || !strings.Contains(err.Error(), "a.json: ") || !strings.Contains(err.Error(), "b.json: ") {
		t.Errorf("the error is %v", err)
	}
	if len(s.Policies()) != 3 {
		t.Errorf("the policies are %v", s.Policies())
	}
}

func TestOnlyTheNamedPoliciesAreLoaded(t *testing.T) {
	if s := loaded(t, "policies.only=rate"); len(s.Policies()) != 1 {
		t.Errorf("loaded %v", s.Policies())
	}
	s := NewService(configure(t, "policies.only=rate,rat"), Build{})
	if err := s.Load(); err == nil || !strings.Contains(err.Error(), `policies.only names "rat"`) {
		t.Errorf("got %v", err)
	}
}

func TestStdioAnswersOneLineForEachRequest(t *testing.T) {
	in := strings.Join([]string{
		`{"jsonrpc": "2.0", "id": 1, "method": "evaluate", "params": {"policy": "access", "input": {}}}`,
		`{"jsonrpc": "2.0", "method": "version"}`,
		``,
		`{"jsonrpc": "2.0", "id": "x", "method": "evaluate", "params": {"policy": "none", "input": {}}}`,
		`{"jsonrpc": "2.0", "id": 3, "method": "evaluate", "params": []}`,
		`{"jsonrpc": "2.0", "id": 4, "method": "sing"}`,
		`[]`, `{`, strings.Repeat("x", 2000),
		`{"jsonrpc": "2.0", "id": 5, "method": "version"}`,
	}, "\n")
	var out bytes.Buffer
	stdio := &Stdio{service: loaded(t, "api.max_body_bytes=1024"), in: strings.NewReader(in), out: &out}
	if err := stdio.Serve(context.Background()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	wants := []string{
		`"id":1,"result":{"policy":"access"`, `"id":"x","error":{"code":-32000,"message":"there is no policy named \"none\"`,
		`"id":3,"error":{"code":-32602`, `"id":4,"error":{"code":-32601`, `"id":null,"error":{"code":-32600`,
		`"id":null,"error":{"code":-32700`, `"id":null,"error":{"code":-32600,"message":"the message is longer`,
		`"id":5,"result":{"version":"1.2.3"`,
	}
	if len(lines) != len(wants) {
		t.Fatalf("got %d lines:\n%s", len(lines), out.String())
	}
	for i, want := range wants {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %s; want %s", i+1, lines[i], want)
		}
	}
}

func TestTheServerIsReadyServesItsSocketAndLeavesNothingBehind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes of sockets are not there on Windows")
	}
	directory, err := os.MkdirTemp("", "nexus") // t.TempDir can be longer than the path of a socket may be
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	path := filepath.Join(directory, "engine.sock")
	c := configure(t, "api.http_address=", "api.socket_path="+path, "api.socket_mode=0600")
	ctx, stop := context.WithCancel(context.Background())
	states, done := make(chan string, 2), make(chan error, 1)
	server := &Server{
		Service: NewService(c, Build{}), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		In: strings.NewReader(""), Out: io.Discard, Notify: func(state string) { states <- state },
	}
	go func() { done <- server.Run(ctx) }()
	if state := <-states; state != "READY=1" {
		t.Fatalf("the server says %s: %v", state, <-done)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	if body, err := Probe(ctx, c, "/readyz"); err != nil || !strings.Contains(body, `"status":"ready"`) {
		t.Errorf("the probe gives %s, %v", body, err)
	}
	if _, err := listenSocket(path, "0600"); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("a second server gives %v", err)
	}
	stop()
	if err := <-done; err != nil || <-states != "STOPPING=1" {
		t.Errorf("the server ends with %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := Probe(context.Background(), c, "/readyz"); err == nil || !strings.Contains(err.Error(), "no answer from") {
		t.Errorf("a probe of nobody gives %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path, "0600"); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the way gives %v", err)
	}
}
