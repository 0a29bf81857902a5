// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"nexus.example/engine/internal/config"
)

// Server runs a service on every transport that its configuration names, and on the listeners that it was handed: one of
// those takes the place of the configured listener of its network. Reload, which may be nil, asks for the policies to be
// read again. Notify is told "READY=1" and "STOPPING=1", the words of systemd's sd_notify.
type Server struct {
	Service *Service
	Log     *slog.Logger
	Handed  []net.Listener
	In      io.Reader
	Out     io.Writer
	Reload  <-chan os.Signal
	Notify  func(state string)
}

// Run serves until ctx is done, a listener fails, or standard input ends where it is the only transport. It then lets
// the requests under way end, for at most api.drain_seconds. /healthz answers from the start; /readyz does once the
// policies are loaded, and so do listeners that were handed over, whose callers wait. The file of a socket that Run opened
// is gone when it returns.
func (s *Server) Run(ctx context.Context) error {
	c := s.Service.config
	defer closeAll(s.Handed)
	listeners, err := listen(c, s.Handed)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: s.Service.Handler(), ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute,
	}
	ended := make(chan error, len(listeners)+len(s.Handed)+1)
	serve := func(l net.Listener) {
		s.Log.Info("listening", "network", l.Addr().Network(), "address", l.Addr().String())
		go func() { ended <- server.Serve(l) }()
	}
	for _, l := range listeners {
		serve(l)
	}
	stdio := &Stdio{service: s.Service, in: s.In, out: s.Out}
	err = s.Service.Load()
	if err == nil {
		s.Service.setStatus("ready")
		now := s.Service.Readiness()
		for _, l := range s.Handed {
			serve(l)
		}
		s.Log.Info("ready", "policies", now.Policies, "policies_digest", now.Digest, "policies_verified", now.Verified)
		s.Notify("READY=1")
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		if c.API.Stdio {
			go func() { s.serveStdio(ctx, stdio, ended, len(listeners)+len(s.Handed) == 0) }()
		}
		err = s.wait(ctx, ended)
		stop()
	}
	s.Service.setStatus("draining")
	s.Log.Info("stopping", "drain_seconds", c.API.DrainSeconds)
	s.Notify("STOPPING=1")
	limit, cancel := context.WithTimeout(context.Background(), time.Duration(c.API.DrainSeconds)*time.Second)
	defer cancel()
	if late := server.Shutdown(limit); late != nil {
		_ = server.Close()
		err = errors.Join(err, errors.New("requests were still under way after api.drain_seconds and were cut off"))
	}
	stdio.Drain()
	return err
}

// serveStdio ends the server with standard input only where nothing else is served, or where it failed.
func (s *Server) serveStdio(ctx context.Context, stdio *Stdio, ended chan<- error, alone bool) {
	err := stdio.Serve(ctx)
	if err != nil || alone {
		ended <- err
		return
	}
	s.Log.Info("standard input ended")
}

func (s *Server) wait(ctx context.Context, ended <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-s.Reload:
			if err := s.Service.Load(); err != nil {
				s.Log.Error("the policies were not read again; those loaded before stay", "error", err.Error())
			} else {
				s.Log.Info("policies read again", "policies_digest", s.Service.Readiness().Digest)
			}
		}
	}
}

// listen opens what the configuration names and nobody handed over.
func listen(c *config.Config, handed []net.Listener) ([]net.Listener, error) {
	has := map[string]bool{}
	for _, l := range handed {
		has[l.Addr().Network()] = true
	}
	var listeners []net.Listener
	if c.API.SocketPath != "" && !has["unix"] {
		l, err := listenSocket(c.API.SocketPath, c.API.SocketMode)
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
	}
	if c.API.HTTPAddress != "" && !has["tcp"] {
		l, err := net.Listen("tcp", c.API.HTTPAddress)
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("cannot listen on api.http_address: %w", err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// listenSocket takes the place of a socket that a killed engine left behind, and of nothing else.
func listenSocket(path, mode string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("cannot use api.socket_path: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("api.socket_path %s is there and is no socket; remove it or name another path", path)
	default:
		if connection, err := net.Dial("unix", path); err == nil {
			_ = connection.Close()
			return nil, fmt.Errorf("api.socket_path %s is served by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot remove the socket that was left behind: %w", err)
		}
	}
	bits, err := strconv.ParseUint(mode, 8, 9)
	if err != nil {
		return nil, fmt.Errorf("api.socket_mode: %w", err)
	}
	defer restrict(int(bits))()
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on api.socket_path: %w", err)
	}
	return l, nil
}
