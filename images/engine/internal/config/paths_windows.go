// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
)

// PlatformFile returns the configuration file that is read when none is named and this one is there.
func PlatformFile() string {
	return filepath.Join(os.Getenv("ProgramData"), "nexus-engine", "runtime.toml")
}

// PlatformPolicies returns the policy folder that is read when the configuration names none.
func PlatformPolicies() string {
	return filepath.Join(os.Getenv("ProgramData"), "nexus-engine", "policies")
}
