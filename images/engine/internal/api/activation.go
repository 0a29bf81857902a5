// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

const firstHanded = 3 // SD_LISTEN_FDS_START

// Handed returns the listening sockets that systemd opened for this process (sd_listen_fds(3)): none where the
// environment names none, or names them for another process. Their files stay systemd's.
func Handed(environ []string) ([]net.Listener, error) {
	return handed(environ, os.Getpid(), firstHanded)
}

func handed(environ []string, pid, first int) ([]net.Listener, error) {
	values := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	if values["LISTEN_PID"] != strconv.Itoa(pid) {
		return nil, nil
	}
	count, err := strconv.Atoi(values["LISTEN_FDS"])
	if err != nil || count < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q; expected how many sockets there are", values["LISTEN_FDS"])
	}
	var listeners []net.Listener
	for n := first; n < first+count; n++ {
		file := os.NewFile(uintptr(n), "socket "+strconv.Itoa(n))
		l, err := net.FileListener(file)
		_ = file.Close() // the listener has its own
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("systemd handed over descriptor %d, which is no listening stream socket: %w", n, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
