// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// hand does what systemd does: it opens a socket, and names its descriptor in the environment of a process.
func hand(t *testing.T, path string) (environ []string, descriptor int) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	descriptor, err = syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return []string{fmt.Sprintf("LISTEN_PID=%d", os.Getpid()), "LISTEN_FDS=1"}, descriptor
}

func TestASocketOfSystemdIsServedInPlaceOfTheConfiguredOneAndStays(t *testing.T) {
	directory, err := os.MkdirTemp("", "nexus")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(directory)
	path := filepath.Join(directory, "engine.sock")
	environ, first := hand(t, path)
	listeners, err := handed(environ, os.Getpid(), first)
	if err != nil || len(listeners) != 1 {
		t.Fatalf("handed over: %v, %v", listeners, err)
	}
	c := configure(t, "api.http_address=", "api.socket_path="+path)
	ctx, stop := context.WithCancel(context.Background())
	states, done := make(chan string, 2), make(chan error, 1)
	server := &Server{
		Service: NewService(c, Build{}), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Handed: listeners,
		In: strings.NewReader(""), Out: io.Discard, Notify: func(state string) { states <- state },
	}
	go func() { done <- server.Run(ctx) }()
	if state := <-states; state != "READY=1" {
		t.Fatalf("the server says %s: %v", state, <-done)
	}
	if body, err := Probe(ctx, c, "/readyz"); err != nil || !strings.Contains(body, `"status":"ready"`) {
		t.Errorf("the probe gives %s, %v", body, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}

func TestOnlySocketsForThisProcessAreTaken(t *testing.T) {
	for environ, want := range map[string]string{
		"":                          "",
		"LISTEN_PID=1 LISTEN_FDS=1": "",
		"LISTEN_PID=7 LISTEN_FDS=0": "",
		"LISTEN_PID=7":              `LISTEN_FDS is ""`,
		"LISTEN_PID=7 LISTEN_FDS=x": `LISTEN_FDS is "x"`,
	} {
		listeners, err := handed(strings.Fields(environ), 7, 3)
		if len(listeners) != 0 || (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%q gives %v, %v; want %q", environ, listeners, err, want)
		}
	}
}

func TestADescriptorThatIsNoSocketIsRefused(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	descriptor, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = handed([]string{"LISTEN_PID=7", "LISTEN_FDS=1"}, 7, descriptor)
	if err == nil || !strings.Contains(err.Error(), "no listening stream socket") {
		t.Errorf("a file gives %v", err)
	}
}
