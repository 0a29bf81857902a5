// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package api

import "syscall"

// restrict makes files created from now on have at most the given mode, until the function it returns is called. A
// socket has its mode from its first moment this way; a chmod after the fact would come too late.
func restrict(mode int) (restore func()) {
	before := syscall.Umask(0o777 &^ mode)
	return func() { syscall.Umask(before) }
}
