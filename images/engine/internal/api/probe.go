// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"nexus.example/engine/internal/config"
)

// Probe asks a running engine for a path such as /readyz, over the HTTP listener of the configuration or, where there
// is none, over its socket. It returns the body; the error is nil only for the status 200.
func Probe(ctx context.Context, c *config.Config, path string) (string, error) {
	network, address := "unix", c.API.SocketPath
	if c.API.HTTPAddress != "" {
		network, address = "tcp", reachable(c.API.HTTPAddress)
	}
	if address == "" {
		return "", fmt.Errorf("the configuration names no listener that could be asked for %s", path)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	// The dialer knows where to go, so no proxy of the environment is asked.
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nexus-engine"+path, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("no answer from %s: %w", address, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, response.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// reachable turns an address to listen on into one to call: every interface becomes the loopback one.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
